// `npm test`: everything from a fresh clone to a counted last line.
//   npm test                     all of it, but for the long ones: npm run test:long
//   npm test -- PATTERN...       vitest's own arguments: only the files that match
// With CI=true a skipped test is a failure.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackages } from './packages.mjs';
import { installDependencies, npm, ROOT, runStep, runTogether } from './steps.mjs';

const startedAt = Date.now();

/** Counts of vitest's JSON report. A file that cannot be loaded has no tests in it and counts as one failure. */
function countReport(path) {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const brokenFiles = report.testResults.filter(
    file => file.status === 'failed' && !file.assertionResults.some(test => test.status === 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
    skippedNames: report.testResults.flatMap(file =>
      file.assertionResults.filter(test => ['skipped', 'pending', 'todo'].includes(test.status)).map(test => test.fullName),
    ),
  };
}

function runVitest() {
  const dir = mkdtempSync(join(tmpdir(), 'gp-report-'));
  const path = join(dir, 'report.json');
  try {
    const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const wanted = process.argv.slice(2);
    const projects = wanted.includes('--project') ? [] : ['--project', 'system', '--project', 'unit', '--project', 'engine'];
    const args = [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${path}`, ...projects, ...wanted];
    const status = runStep('tests (vitest)', process.execPath, args);
    const counts = countReport(path);
    // An error outside every test (an unhandled rejection, say) shows in the exit status only.
    if (status !== 0 && counts.failed === 0) counts.failed = 1;
    return counts;
  } catch (error) {
    console.error(`no report from vitest: ${error.message}`);
    return { passed: 0, failed: 1, skipped: 0, skippedNames: [] };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The steps before the tests: the first that fails ends the run, as one failure. */
async function prepare() {
  if (installDependencies() !== 0) return false;
  installPackages();
  if (npm('build', ['run', 'build']) !== 0) return false;
  // They read what the build has written.
  return (await runTogether(['lint:rules', 'lint:format', 'typecheck'])) === 0;
}

const counts = (await prepare()) ? runVitest() : { passed: 0, failed: 1, skipped: 0, skippedNames: [] };
if (counts.skippedNames.length > 0) console.log(`\nskipped:\n${counts.skippedNames.map(name => `  ${name}`).join('\n')}`);
const skipFails = process.env.CI === 'true' && counts.skipped > 0;
if (skipFails) console.log('\nCI=true: a skipped test is a failure');
console.log(`\n${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`);
process.exitCode = counts.failed > 0 || skipFails || counts.passed === 0 ? 1 : 0;
