// Plain Node without dependencies: this runs before `npm ci` has.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Runs a command in the checkout with its output shown; gives its exit status. */
export function runStep(title, command, args, options = {}) {
  const startedAt = Date.now();
  console.log(`\n==> ${title}`);
  const result = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options });
  if (result.error) console.error(result.error.message);
  const status = result.status ?? 1;
  reportStep(title, status, startedAt);
  return status;
}

function reportStep(title, status, startedAt) {
  const outcome = status === 0 ? 'done' : `failed (exit status ${status})`;
  console.log(`==> ${title}: ${outcome} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** npm of the running npm where there is one, so that its version stays the same all through. */
function npmCommand(args) {
  const cli = process.env.npm_execpath;
  return cli?.endsWith('.js') ? [process.execPath, [cli, ...args]] : ['npm', args];
}

export function npm(title, args) {
  return runStep(title, ...npmCommand(args));
}

/** Runs scripts of package.json side by side; each one's output is shown when it ends. Gives the number of those that failed. */
export async function runTogether(scripts) {
  console.log(`\n==> side by side: ${scripts.join(', ')}`);
  const statuses = await Promise.all(scripts.map(runQuietly));
  return statuses.filter(status => status !== 0).length;
}

function runQuietly(script) {
  const startedAt = Date.now();
  const [command, args] = npmCommand(['run', script]);
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => output.push(data));
  return new Promise(resolve => {
    child.once('error', error => output.push(Buffer.from(`${error.message}\n`)));
    child.once('close', code => {
      const status = code ?? 1;
      process.stdout.write(Buffer.concat(output));
      reportStep(script, status, startedAt);
      resolve(status);
    });
  });
}

/** Installs the npm packages when they are missing or older than package-lock.json. */
export function installDependencies() {
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  const lock = join(ROOT, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return 0;
  return npm('npm packages (npm ci)', ['ci']);
}
