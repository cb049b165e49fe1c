// Builds prebuilds/linux-{x64,arm64}/ for glibc and musl, on Debian or its like: what "npm pack" ships, so that no user needs a compiler.
//   node prebuild.mjs [TARGET...]       x64-glibc, arm64-glibc, x64-musl, arm64-musl
// Needs g++, for arm64 g++-aarch64-linux-gnu, and for musl its headers, which apt-get downloads. A target that cannot be built here is named, and the
// rest is built; the exit code says whether all are there.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const scratch = mkdtempSync(join(tmpdir(), 'uring-prebuild-'));

/** Debian's name of the architecture, and the prefix of its tools. */
const ARCHITECTURES = {
  x64: {
    debian: 'amd64',
    triple: 'x86_64-linux-gnu',
    musl: 'x86_64-linux-musl',
    kernel: ['/usr/include/x86_64-linux-gnu', '/usr/include'],
  },
  arm64: { debian: 'arm64', triple: 'aarch64-linux-gnu', musl: 'aarch64-linux-musl', kernel: ['/usr/aarch64-linux-gnu/include'] },
};

function run(program, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', ...options });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`.trim()}`);
  return stdout;
}

/** musl's headers for one architecture, unpacked; nothing is installed. */
function muslHeaders({ debian, musl }) {
  const directory = join(scratch, debian);
  for (const part of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(directory, part), { recursive: true });
  const options = [`APT::Architecture=${debian}`, `APT::Architectures::=${debian}`, `Dir::State::lists=${directory}/lists`];
  const flags = [...options, `Dir::Cache=${directory}/cache`, 'Dir::State::status=/dev/null', 'APT::Sandbox::User=root'].flatMap(option => [
    '-o',
    option,
  ]);
  run('apt-get', [...flags, 'update'], { cwd: directory });
  run('apt-get', [...flags, 'download', `musl-dev:${debian}`], { cwd: directory });
  const archive = readdirSync(directory).find(name => name.endsWith('.deb'));
  run('dpkg', ['-x', archive, 'root'], { cwd: directory });
  return join(directory, 'root', 'usr', 'include', musl);
}

/**
 * g++ with musl's headers in place of glibc's. What it makes names no C library, since a musl process has exactly one, and libstdc++ by its name, which Node on
 * musl has too. libstdc++'s headers ask glibc for its version: there is none.
 */
function muslCompiler(architecture) {
  const { triple, kernel } = architecture;
  const compiler = `${triple}-g++`;
  const version = run(compiler, ['-dumpversion']).trim().split('.')[0];
  const cxx = triple.startsWith('x86')
    ? ['/usr/include/c++', `/usr/include/${triple}/c++`]
    : [`/usr/${triple}/include/c++`, `/usr/${triple}/include/c++`];
  const includes = [
    ...(triple.startsWith('x86') ? cxx.map(path => `${path}/${version}`) : [`${cxx[0]}/${version}`, `${cxx[0]}/${version}/${triple}`]),
    muslHeaders(architecture),
    join(dirname(run(compiler, ['-print-libgcc-file-name']).trim()), 'include'),
  ];
  const compile = [
    '-nostdinc',
    '-nostdinc++',
    ...includes.flatMap(path => ['-isystem', path]),
    ...kernel.flatMap(path => ['-idirafter', path]),
    "'-D__GLIBC_PREREQ(major,minor)=0'",
  ];
  const part = name => run(compiler, [`-print-file-name=${name}`]).trim();
  const link = ['-nostdlib', '-Wl,--allow-shlib-undefined', part('crtbeginS.o')];
  const script = join(scratch, `${triple}-musl-g++`);
  writeFileSync(
    script,
    `#!/bin/sh\ncase " $* " in\n*" -shared "*) exec ${compiler} ${link.join(' ')} "$@" -l:libstdc++.so.6 -lgcc ${part('crtendS.o')} ;;\n*) exec ${compiler} ${compile.join(' ')} "$@" ;;\nesac\n`,
  );
  chmodSync(script, 0o755);
  return script;
}

function build(target) {
  const [arch, libc] = target.split('-');
  const architecture = ARCHITECTURES[arch];
  const compiler = libc === 'musl' ? muslCompiler(architecture) : `${architecture.triple}-g++`;
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? { npm_config_nodedir: prefix } : {};
  // libstdc++ goes into the glibc builds: old systems have an old one. glibc itself: 2.28 is enough, as for Node 20.
  const flags = libc === 'glibc' ? { LDFLAGS: '-static-libstdc++ -static-libgcc' } : {};
  const gyp = require.resolve('node-gyp/bin/node-gyp.js');
  // Elsewhere: what this machine has built for itself stays as it is.
  const sources = join(scratch, target);
  for (const name of ['package.json', 'binding.gyp', 'addon']) cpSync(join(here, name), join(sources, name), { recursive: true });
  run(
    process.execPath,
    [require.resolve('prebuildify/bin.js'), '--napi', '--strip', '--tag-libc', '--arch', arch, '--libc', libc, '--out', here],
    {
      cwd: sources,
      env: {
        ...process.env,
        ...headers,
        ...flags,
        CC: compiler,
        CXX: compiler,
        PREBUILD_NODE_GYP: gyp,
        PREBUILD_LIBC: libc,
        PREBUILD_STRIP_BIN: `${architecture.triple}-strip`,
      },
    },
  );
  console.log(`uring-engine: built for ${target}`);
}

const all = ['x64-glibc', 'arm64-glibc', 'x64-musl', 'arm64-musl'];
const targets = process.argv.length > 2 ? process.argv.slice(2) : all;
try {
  for (const target of targets) {
    try {
      if (!all.includes(target)) throw new Error(`there is no target of that name; there are ${all.join(', ')}`);
      build(target);
    } catch (error) {
      process.exitCode = 1;
      console.error(`uring-engine: not built for ${target}: ${error.message}`);
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
