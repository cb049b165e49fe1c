// npm run pack [-- DIR]: gatepath-VERSION.tgz, in DIR or here: the command with its units, man page and documents, for "npm install -g". uring-engine and nbd-server-ts, which
// are of this repository, lie in it; other packages come from the registry. Run "npm run build" before. The addon comes prebuilt: for this machine's processor, or for all
// that "npm run prebuild-addon" has made.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ROOT } from './steps.mjs';

const OWN = [join(ROOT, 'native'), join(ROOT, 'src', 'nbd-server-ts')];
const FILES = ['dist/bundle', 'dist/man', 'docs', 'systemd', 'README.md', 'LICENSE'];
/** Of package.json: what is for those who install it. */
const KEPT = ['name', 'version', 'description', 'license', 'type', 'engines', 'bin', 'man', 'optionalDependencies', 'overrides'];

const readJson = path => JSON.parse(readFileSync(path, 'utf8'));

function run(program, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`.trim()}`);
  return stdout;
}

/** Path of the tarball. */
function pack(directory, destination) {
  return join(destination, JSON.parse(run('npm', ['pack', '--json', '--pack-destination', destination], directory))[0].filename);
}

/** As it is when it is installed: so no link into the repository is left. */
function addOwn(directory, stage) {
  const { name, dependencies = {} } = readJson(join(directory, 'package.json'));
  const place = join(stage, 'node_modules', name);
  mkdirSync(place, { recursive: true });
  const tarball = pack(directory, stage);
  run('tar', ['-xzf', tarball, '-C', place, '--strip-components=1'], stage);
  rmSync(tarball);
  return { name, dependencies };
}

const missing = FILES.filter(file => !existsSync(join(ROOT, file)));
if (missing.length > 0) throw new Error(`${missing.join(', ')}: not there; run "npm run build" before`);
const prebuilt = `linux-${process.arch}`;
if (!existsSync(join(ROOT, 'native', 'prebuilds', prebuilt)))
  run(process.execPath, [join(ROOT, 'native', 'prebuild.mjs'), `${process.arch}-glibc`], ROOT);

const stage = mkdtempSync(join(tmpdir(), 'gatepath-pack-'));
try {
  const root = readJson(join(ROOT, 'package.json'));
  const own = OWN.map(directory => addOwn(directory, stage));
  const names = own.map(({ name }) => name);
  // What a bundled package needs npm takes for bundled, too, and does not fetch.
  const theirs = Object.entries(Object.assign({}, ...own.map(({ dependencies }) => dependencies))).filter(
    ([name]) => !names.includes(name),
  );
  for (const [name] of theirs) {
    const { dependencies = {} } = readJson(join(ROOT, 'node_modules', name, 'package.json'));
    if (Object.keys(dependencies).length > 0) throw new Error(`${name} has dependencies: they have to be bundled, too`);
    cpSync(join(ROOT, 'node_modules', name), join(stage, 'node_modules', name), { recursive: true });
  }
  const versions = Object.fromEntries(names.map(name => [name, readJson(join(stage, 'node_modules', name, 'package.json')).version]));
  const manifest = {
    ...Object.fromEntries(KEPT.map(key => [key, root[key]])),
    files: FILES,
    dependencies: { ...root.dependencies, ...Object.fromEntries(theirs), ...versions },
    bundleDependencies: [...names, ...theirs.map(([name]) => name)],
  };
  writeFileSync(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const file of FILES) cpSync(join(ROOT, file), join(stage, file), { recursive: true });
  console.log(pack(stage, resolve(process.argv[2] ?? '.')));
} finally {
  rmSync(stage, { recursive: true, force: true });
}
