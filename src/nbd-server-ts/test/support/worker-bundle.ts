import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { buildSync } from 'esbuild';

const WORKER = new URL('./worker.ts', import.meta.url);
/** Inside the checkout, so that packages are found from there. */
const CACHE = new URL('../../../../node_modules/.cache/nbd-server-ts/', import.meta.url);
/** The only source in it that asks where it is. */
const TLS_THREAD = new URL('../../src/tls/tls-thread.ts', import.meta.url);

let bundle: URL | null = null;

/** worker.ts and the server's source as one file of JavaScript, made once a process: a thread with a loader for TypeScript starts ten times slower. */
export function workerBundle(): URL {
  bundle ??= makeBundle();
  return bundle;
}

function makeBundle(): URL {
  const { outputFiles } = buildSync({
    entryPoints: [WORKER.pathname],
    bundle: true,
    packages: 'external',
    platform: 'node',
    target: 'node20',
    format: 'esm',
    define: { 'import.meta.url': JSON.stringify(TLS_THREAD.href) },
    write: false,
  });
  mkdirSync(CACHE, { recursive: true });
  const file = new URL('worker.mjs', CACHE);
  // Test files run side by side: none sees a half of it.
  const own = new URL(`worker-${process.pid}.mjs`, CACHE);
  writeFileSync(own, outputFiles[0]!.contents);
  renameSync(own, file);
  return file;
}
