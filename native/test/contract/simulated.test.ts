import { createArena } from '../../src/arena.js';
import { FaultyDisk, FaultyEngine, VirtualClock } from '../../src/faulty/index.js';
import { engineContract } from './index.js';
import { ARENA_BYTES, type Features, type World } from './world.js';

const arena = createArena(ARENA_BYTES);
let seed = 0;
const FEATURES: Features = { sockets: false, release: false, holes: true };

/** The faulty disk without a fault: time is virtual, so a wait costs none. */
function makeSimulatedWorld(): World {
  const clock = new VirtualClock(++seed);
  const disk = new FaultyDisk({ random: clock.random });
  arena.bytes.fill(0);
  const engine = new FaultyEngine(arena, clock, disk);
  engine.files.makeDirectory('/d');
  return {
    engine,
    directory: '/d',
    features: FEATURES,
    hasDirect: true,
    spaceBytes: path => disk.file(path).allocatedBytes,
    close: () => engine.destroy(),
  };
}

engineContract('the faulty disk', makeSimulatedWorld, FEATURES);
