import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { NbdClient } from '../../support/nbd/client.js';
import { GatepathSplit } from '../../support/gatepath-split.js';
import { isQuarantined } from '../../support/quarantine.js';
import { Random, seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep, within } from '../../support/wait.js';
import { VerifiedLoad, verifyRegions } from '../load/load.js';
import { crashRegions } from './rounds.js';

const KILLS = 4;

// Stargate alone dies; the datapath holds what is unacknowledged and sends it again, so its clients notice nothing but time.
describe('stargate killed under a datapath that stays', () => {
  const dir = makeTempDir('split');
  afterAll(() => removeTempDir(dir));

  it('keeps every NBD connection, answers every request, loses nothing and does nothing twice', async () => {
    const seed = seedFromEnvironment();
    const random = new Random(seed);
    const system = new GatepathSplit({ dir, vdisk: 'split', size: '1G' });
    await system.start();
    try {
      const regions = crashRegions(seed);
      const connect = () => NbdClient.connect({ socket: system.socket }, system.exportName);
      const load = new VerifiedLoad({ connect, regions, random });
      await load.start();
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(random.between(200, 1500));
        await system.killPart('stargate');
        await sleep(random.between(0, 1500));
        await system.startPart('stargate');
        const before = load.counts.acknowledgedWrites;
        await within(`writes go on after kill ${kill + 1}`, 30_000, untilMore(load, before));
      }
      await within('the end of the load', 30_000, load.stop());
      expect(load.faults, `seed ${seed}`).toEqual([]);
      expect(load.lostConnections).toBe(0);
      expect(load.counts.unanswered).toBe(0);
      const client = await connect();
      expect(await verifyRegions(client, regions, false), `seed ${seed}`).toEqual([]);
      await client.disconnect();
      // Each time the same one had died, with requests that it had not answered: that is no reason.
      expect(await isQuarantined('split', join(dir, 'data'))).toBe(false);
      await system.stop();
    } finally {
      await system.kill();
    }
  });
});

async function untilMore(load: VerifiedLoad, before: number): Promise<void> {
  while (load.counts.acknowledgedWrites <= before) await sleep(20);
}
