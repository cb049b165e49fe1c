// Plain Node without dependencies: this runs before `npm ci` has.
import { spawnSync } from 'node:child_process';
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
  console.log(
    `==> ${title}: ${status === 0 ? 'done' : `failed (exit status ${status})`} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`,
  );
  return status;
}

/** npm of the running npm where there is one, so that its version stays the same all through. */
export function npm(title, args) {
  const cli = process.env.npm_execpath;
  return cli?.endsWith('.js') ? runStep(title, process.execPath, [cli, ...args]) : runStep(title, 'npm', args);
}

/** Installs the npm packages when they are missing or older than package-lock.json. */
export function installDependencies() {
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  const lock = join(ROOT, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return 0;
  return npm('npm packages (npm ci)', ['ci']);
}
