import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAddon } from '../../src/addon.js';
import { createArena } from '../../src/arena.js';
import { createEngine } from '../../src/create.js';
import { ARENA_BYTES, type Features, type World } from './world.js';

const TMPFS = 0x0102_1994;

const arena = createArena(ARENA_BYTES);
const hasAddon = loadAddon() !== null;
export const REAL_FEATURES: Features = { sockets: true, release: hasAddon, holes: hasAddon };

/** An engine of this thread with a directory of its own. */
export function makeRealWorld(kind: 'io_uring' | 'libuv'): World {
  const directory = fs.mkdtempSync(join(tmpdir(), 'ue-'));
  arena.bytes.fill(0);
  const engine = createEngine({ arena, kind });
  const isOnDisk = fs.statfsSync(directory).type !== TMPFS;
  return {
    engine,
    directory,
    features: REAL_FEATURES,
    hasDirect: kind === 'io_uring' && isOnDisk,
    spaceBytes: path => fs.statSync(path).blocks * 512,
    close: () => {
      engine.destroy();
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}
