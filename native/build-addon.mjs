// Builds the addon where its sources are newer than what is built. Without a compiler the package works on libuv, so that is no error.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, 'build', 'Release', 'uring_engine.node');
const sources = ['binding.gyp', ...readdirSync(join(here, 'addon')).map(name => join('addon', name))].map(name => join(here, name));

if (process.platform !== 'linux') {
  console.log('uring-engine: io_uring is Linux only; the libuv engine is used here');
} else if (!existsSync(built) || sources.some(source => statSync(source).mtimeMs > statSync(built).mtimeMs)) {
  const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  // Node's own headers, where they are installed beside it, spare a download.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
  const result = spawnSync(process.execPath, [gyp, 'rebuild', ...headers], { cwd: here, encoding: 'utf8' });
  if (result.status !== 0) {
    console.error(`${result.stdout}${result.stderr}`);
    console.error(
      'uring-engine: the addon could not be built (a C++17 compiler and make are needed); going on with the libuv engine, which is slower',
    );
  }
}
