// What `npm run build` does after tsc: dist/bundle/, the files that processes and their threads load. A thread that loads a dozen files starts faster than one that
// loads several hundred. dist/ has the same code file by file, for those who import parts of it.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { build } from 'esbuild';
import { ROOT } from './steps.mjs';

const OUT = join(ROOT, 'dist', 'bundle');

/**
 * The command, and each thread's first file. All of the bundle lies in one folder: `new URL('./NAME.js', import.meta.url)` finds a thread's file from there, as from the
 * file beside it in dist/. So a thread's file has a name of its own in the whole project.
 */
const ENTRIES = ['main/gatepath', 'main/shard-worker', 'stargate/store/store-thread', 'transport/tls/tls-worker'];

/** Packages that load native code, or threads' files of their own. */
const EXTERNAL = ['@node-rs/crc32', 'lmdb', 'msgpackr-extract', 'node-gyp-build', 'pino-pretty', 'piscina'];

/** Ours that find things by where they lie: each as if it still lay in its package. */
const PACKAGES = [
  ['uring-engine', join(ROOT, 'native', 'dist')],
  ['nbd-server-ts', join(ROOT, 'src', 'nbd-server-ts', 'dist')],
];

/** Others that read files of theirs by where they lie, and their main files' folders. etcd3 is optional: it stays outside where it is not installed. */
const READERS = { etcd3: 'lib', '@grpc/grpc-js': 'build/src' };

const THREAD_FILE = /new URL\([^;]*?'\.\/([\w-]+)\.js'[^;]*?import\.meta\.url\)/g;

const inTheirPackage = {
  name: 'in-their-package',
  setup({ onLoad }) {
    onLoad({ filter: /\/dist\/.*\.js$/ }, async ({ path }) => {
      const [name, dist] = PACKAGES.find(([, at]) => path.startsWith(at)) ?? [];
      if (name === undefined) return null;
      const text = await readFile(path, 'utf8');
      const here = `new URL('${relative(dist, path)}', import.meta.resolve('${name}')).href`;
      return { contents: text.replaceAll('import.meta.url', here), loader: 'js' };
    });
  },
};

const readersOfFiles = {
  name: 'readers-of-files',
  setup({ onLoad }) {
    for (const [name, main] of Object.entries(READERS)) {
      const directory = join(ROOT, 'node_modules', name, main);
      onLoad({ filter: new RegExp(`/node_modules/${name}/${main}/.*\\.js$`) }, async ({ path }) => {
        const text = await readFile(path, 'utf8');
        // Not "require.resolve": that would be taken for something to be bundled.
        const here = `require('node:path').join((0, require).resolve('${name}'), '..', '${relative(directory, dirname(path))}')`;
        return { contents: text.replaceAll('__dirname', here), loader: 'js' };
      });
    }
  },
};

/** A thread whose file is not in the bundle would fail when it is started, perhaps in a rare case only. */
async function threadFilesWithoutEntry(inputs) {
  const names = ENTRIES.map(entry => entry.split('/').at(-1));
  const ours = inputs.filter(input => input.startsWith('dist/'));
  const texts = await Promise.all(ours.map(input => readFile(join(ROOT, input), 'utf8')));
  return texts.flatMap((text, i) =>
    [...text.matchAll(THREAD_FILE)].filter(([, name]) => !names.includes(name)).map(([, name]) => `${ours[i]} loads ./${name}.js`),
  );
}

const { metafile } = await build({
  absWorkingDir: ROOT,
  entryPoints: ENTRIES.map(entry => ({ in: `dist/${entry}.js`, out: entry.split('/').at(-1) })),
  outdir: OUT,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: EXTERNAL,
  plugins: [inTheirPackage, readersOfFiles],
  // Packages in CommonJS ask for Node's modules by it.
  banner: { js: "import { createRequire as requireFrom } from 'node:module';\nconst require = requireFrom(import.meta.url);" },
  // For node --enable-source-maps; without it, stack traces name what is readable, too: nothing is minified.
  sourcemap: true,
  sourcesContent: false,
  metafile: true,
  logLevel: 'warning',
});
const missing = await threadFilesWithoutEntry(Object.keys(metafile.inputs));
if (missing.length > 0) throw new Error(`no entry of the bundle (scripts/bundle.mjs): ${missing.join(', ')}`);
const made = new Set(Object.keys(metafile.outputs).map(path => relative(OUT, join(ROOT, path))));
// Last, and only what is of an earlier build: processes may be running.
for (const name of readdirSync(OUT)) if (!made.has(name)) rmSync(join(OUT, name));

// gatepath(1), from the command's own verbs.
mkdirSync(join(ROOT, 'dist', 'man'), { recursive: true });
writeFileSync(join(ROOT, 'dist', 'man', 'gatepath.1'), execFileSync(process.execPath, [join(OUT, 'gatepath.js'), 'man-page']));
