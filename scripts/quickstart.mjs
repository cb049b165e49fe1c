// `npm run quickstart`: from a fresh clone to a running Gatepath with a 10 GiB vdisk. Arguments go to `gatepath up`.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { installDependencies, npm, ROOT } from './steps.mjs';

if (installDependencies() !== 0 || npm('build', ['run', 'build']) !== 0) process.exit(1);

const up = spawn(process.execPath, [join(ROOT, 'dist', 'bundle', 'gatepath.js'), 'up', '--vdisk', 'demo:10G', ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: 'inherit',
});
// Ctrl-C reaches both of us: Gatepath stops cleanly and we end with it. A signal sent to us alone is handed on.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => up.kill('SIGTERM'));
up.on('exit', (code, signal) => {
  process.exitCode = signal === 'SIGINT' ? 0 : (code ?? 1);
});
