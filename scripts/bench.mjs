// `npm run bench [-- SUITE...]`: sees to packages and the build, then runs bench/main.ts with the same arguments.
import { join } from 'node:path';
import { installPackages } from './packages.mjs';
import { installDependencies, npm, ROOT, runStep } from './steps.mjs';

if (installDependencies() !== 0) process.exit(1);
installPackages({ bench: true });
if (npm('build', ['run', 'build']) !== 0) process.exit(1);
const tsx = join(ROOT, 'node_modules', 'tsx', 'dist', 'cli.mjs');
process.exitCode = runStep('benchmarks', process.execPath, [tsx, join(ROOT, 'bench', 'main.ts'), ...process.argv.slice(2)]);
