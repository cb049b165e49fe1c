import { describe } from 'vitest';
import { addressesContract } from './addresses.js';
import { boundsContract } from './bounds.js';
import { fileSystemContract } from './file-system.js';
import { filesContract } from './files.js';
import { lifeContract } from './life.js';
import { slotsContract } from './slots.js';
import { socketsContract } from './sockets.js';
import { timersContract } from './timers.js';
import { wakesContract } from './wakes.js';
import type { Features, MakeWorld } from './world.js';

/** Every promise of `Engine` and `FileSystem`, kept or not by one engine. */
export function engineContract(name: string, make: MakeWorld, features: Features): void {
  describe(`engine contract: ${name}`, () => {
    lifeContract(make);
    timersContract(make);
    slotsContract(make, features);
    boundsContract(make);
    wakesContract(make);
    filesContract(make, features);
    fileSystemContract(make, features);
    if (!features.sockets) return;
    addressesContract(make);
    socketsContract(make);
  });
}
