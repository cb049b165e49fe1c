// npm run asan        the addon's tests over an addon that is built with AddressSanitizer and UndefinedBehaviorSanitizer
//   -- --planted      over addons with a fault planted in them (native/addon/planted.h), each of which must be reported
// npm run valgrind    a server on io_uring and its client, and the tests of the addon alone, under valgrind's memcheck: what it says of the addon's own code
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from './steps.mjs';

const NATIVE = join(ROOT, 'native');
const GYP = join(ROOT, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
const TESTS = [
  'native/test/addon',
  'native/test/contract/io-uring.test.ts',
  'native/test/uring',
  'native/test/arena.test.ts',
  'native/test/lock.test.ts',
];
const scratch = mkdtempSync(join(tmpdir(), 'sanitize-'));

function fail(message) {
  console.error(message);
  process.exitCode = 1;
}

/** The addon built with these flags, in a directory that uring-engine takes it from. */
function build(flags) {
  for (const name of ['package.json', 'binding.gyp', 'addon']) cpSync(join(NATIVE, name), join(scratch, name), { recursive: true });
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
  const env = { ...process.env, CXXFLAGS: flags, LDFLAGS: flags };
  const { status, stdout, stderr } = spawnSync(process.execPath, [GYP, 'rebuild', ...headers], { cwd: scratch, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`the addon cannot be built: ${stdout}${stderr}`);
  return { URING_ENGINE_PREBUILD: scratch };
}

/** The tests over an addon that is built with the sanitizers and these flags: how they ended, and what the sanitizers say. */
function testSanitized(flags, tests, stdio) {
  const env = build(`-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1 ${flags}`);
  const library = name => spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
  const { status } = spawnSync(process.execPath, [join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...tests], {
    cwd: ROOT,
    stdio,
    // Leaks: Node leaves its own to the end of the process.
    env: {
      ...process.env,
      ...env,
      LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
      ASAN_OPTIONS: `detect_leaks=0:log_path=${scratch}/asan`,
    },
  });
  const names = readdirSync(scratch).filter(name => name.startsWith('asan.'));
  const reports = names.map(name => readFileSync(join(scratch, name), 'utf8'));
  for (const name of names) rmSync(join(scratch, name));
  return { status, reports };
}

/** What is reported of each planted fault: its kind, and the function it is in. */
const PLANTED = { 1: /heap-buffer-overflow[^]*ringCreate/, 2: /heap-use-after-free[^]*onThreadEnd/ };

function planted() {
  for (const [fault, wanted] of Object.entries(PLANTED)) {
    const { reports } = testSanitized(`-DPLANTED_FAULT=${fault}`, ['native/test/uring', 'native/test/exit.test.ts'], 'ignore');
    const found = reports.find(report => wanted.test(report));
    if (found === undefined) fail(`planted fault ${fault} is not reported: ${reports.length} other reports`);
    else console.log(`planted fault ${fault} is reported: ${/ERROR: (.*?) on /.exec(found)?.[1] ?? 'ERROR'}`);
  }
}

function asan() {
  const { status, reports } = testSanitized('', TESTS, 'inherit');
  for (const report of reports) console.error(report);
  if (status !== 0 || reports.length > 0) fail(`AddressSanitizer: ${reports.length} reports, the tests ended with ${status}`);
  else console.log('AddressSanitizer and UndefinedBehaviorSanitizer: clean');
}

/** Errors of memcheck's log in whose stack the addon is. */
function ofAddon(log) {
  return log
    .replaceAll(/^==\d+== ?/gm, '')
    .split('\n\n')
    .filter(part => /uring_engine\.node/.test(part) && !/^(HEAP|LEAK)/.test(part));
}

/** Of TESTS those that ask the addon itself, past TypeScript: the others wait for one another's threads, too slow for them under memcheck. */
const MEMCHECK_TESTS = ['native/test/addon'];

/**
 * The tests alone are watched, in the process that vitest forks for them: it gives that a minute to start. They need WebAssembly, and that a JIT: memcheck has
 * to look for code that changes.
 */
function memcheckTests(env) {
  const watched = ['--smc-check=all-non-file', '--error-limit=no', '--num-callers=20', `--log-file=${scratch}/tests.%p`];
  const node = join(scratch, 'node');
  const flags = ['--no-opt', '--no-sparkplug', '--single-threaded'];
  writeFileSync(node, `#!/bin/sh\nexec valgrind ${watched.join(' ')} ${process.execPath} ${flags.join(' ')} "$@"\n`, { mode: 0o755 });
  const preload = `data:text/javascript,process.execPath=${JSON.stringify(node)}`;
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const args = ['--import', preload, vitest, 'run', ...MEMCHECK_TESTS, '--no-file-parallelism', '--testTimeout=300000'];
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT, env, stdio: 'inherit' });
  const logs = readdirSync(scratch).filter(name => name.startsWith('tests.'));
  const errors = logs.flatMap(name => ofAddon(readFileSync(join(scratch, name), 'utf8')));
  for (const error of errors) console.error(`${error}\n`);
  if (status !== 0 || errors.length > 0 || logs.length === 0)
    fail(`valgrind: ${errors.length} errors of the addon, its tests ended with ${status}`);
  else console.log('valgrind: the tests of the addon, no error of the addon');
}

async function valgrind() {
  const env = { ...process.env, ...build('-g -O1') };
  await memcheckServer(env);
  memcheckTests(env);
}

async function memcheckServer(env) {
  const [disk, socket, log] = ['disk.img', 's', 'log'].map(name => join(scratch, name));
  writeFileSync(disk, '');
  truncateSync(disk, 16 << 20);
  const example = join(ROOT, 'src', 'nbd-server-ts', 'example', 'serve-file.ts');
  // Inside the checkout, so that packages are found from there.
  const served = join(ROOT, 'node_modules', '.cache', `serve-${process.pid}.mjs`);
  mkdirSync(dirname(served), { recursive: true });
  cpSync(example, served);
  // Without a JIT: memcheck need not follow code that changes.
  const args = ['--error-limit=no', '--num-callers=20', `--log-file=${log}`, process.execPath, '--jitless', served, disk, socket];
  const server = spawn('valgrind', args, { cwd: ROOT, env, stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    while (!existsSync(socket)) {
      if (server.exitCode !== null) throw new Error(`the server has ended: ${readFileSync(log, 'utf8').slice(-2_000)}`);
      await new Promise(resolve => setTimeout(resolve, 200));
    }
    const uri = `nbd+unix:///disk?socket=${socket}`;
    for (const flags of [['-w'], [], ['-w', '--flush-interval=16']]) {
      const bench = ['bench', '-f', 'raw', '-t', 'none', '-d', '16', '-s', '4096', '-S', '266240', '-c', '400', ...flags, uri];
      const { status, stdout, stderr } = spawnSync('qemu-img', bench, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`qemu-img: ${stdout}${stderr}`);
    }
  } finally {
    server.kill('SIGKILL');
    rmSync(served, { force: true });
  }
  const text = readFileSync(log, 'utf8');
  const errors = ofAddon(text);
  for (const error of errors) console.error(`${error}\n`);
  if (errors.length > 0) fail(`valgrind: ${errors.length} errors of the addon`);
  else console.log('valgrind: 1,200 requests, no error of the addon');
}

try {
  if (process.argv[2] === 'valgrind') await valgrind();
  else if (process.argv.includes('--planted')) planted();
  else asan();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
