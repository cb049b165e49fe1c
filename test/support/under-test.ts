import { join } from 'node:path';
import { GatepathUp } from './gatepath.js';
import { check } from './process.js';
import { NbdkitSystem, type NbdSystem } from './system.js';

/**
 * The system that client and guest tests run against: `gatepath up` with one vdisk.
 * GATEPATH_TEST_PEER=nbdkit puts nbdkit in its place, to tell a client's trouble from ours.
 */
export async function systemUnderTest(dir: string, vdisk: string, size: string): Promise<NbdSystem> {
  if (process.env['GATEPATH_TEST_PEER'] === 'nbdkit') {
    const image = join(dir, 'image');
    await check(['truncate', '-s', size, image]);
    return new NbdkitSystem(join(dir, 's'), ['file', image]);
  }
  return new GatepathUp({ dataDir: join(dir, 'data'), vdisk, size });
}
