import { appendFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { gatepath, GatepathUp, runGatepath } from '../../support/gatepath.js';
import { NbdClient } from '../../support/nbd/client.js';
import { Random, seedFromEnvironment } from '../../support/random.js';
import { SmallDisk } from '../../support/small-disk.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep, waitFor, within } from '../../support/wait.js';
import { Region, VerifiedLoad, verifyRegions } from '../load/load.js';

const MIB = 2 ** 20;
const ENOSPC = 28;
/** Of each of two vdisks: more than a segment of the log, which gives room again only when all of it is in the extents. */
const GIVEN_BACK_MIB = 96;
/** More than the log takes when it is full. */
const IMAGE_MIB = 768;
const isRoot = process.getuid?.() === 0;

// The log takes all that it may of it, and leaves some for data.
describe.skipIf(!isRoot)('a file system that is full at random moments (needs root, for the mount)', () => {
  const dir = makeTempDir('full');
  const disk = isRoot ? new SmallDisk(dir, 1_400 * MIB) : null!;
  const data = `${dir}/disk/data`;
  const system = new GatepathUp({ dataDir: data, vdisk: 'full', size: '2G', extraArgs: ['--oplog', '512M'] });
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const regions = [new Region(0, 4096, 100_000, 256, seed), new Region(1_024 * MIB, 512, 8_192, 512, seed)];
  const connect = (exportName = 'full') => NbdClient.connect({ socket: system.socket }, exportName);

  afterAll(async () => {
    await system.kill();
    disk.unmount();
    removeTempDir(dir);
  });

  const status = async () => JSON.parse(await gatepath('status', '--json', '--data', data)) as { vdisks: { deleting: number } };

  /** Nothing is acknowledged for two seconds. */
  const standsStill = async (load: VerifiedLoad): Promise<void> => {
    for (let before = -1; before !== load.counts.acknowledgedWrites;) {
      before = load.counts.acknowledgedWrites;
      await sleep(2_000);
    }
  };
  const goesOn = async (load: VerifiedLoad): Promise<void> => {
    const before = load.counts.acknowledgedWrites;
    while (load.counts.acknowledgedWrites < before + 500) await sleep(50);
  };
  /** Also what is used is right then. */
  const drained = async (...names: readonly string[]): Promise<void> => {
    for (const name of names) {
      for (let logBytes = -1; logBytes !== 0; await sleep(200)) {
        const show = JSON.parse(await gatepath('vdisk', 'show', name, '--json', '--data', data)) as Record<string, number>;
        logBytes = show['logBytes']!;
        expect(show['allocatedBytes']! + logBytes).toBeGreaterThanOrEqual(GIVEN_BACK_MIB * MIB);
        if (logBytes === 0) expect([show['allocatedBytes'], show['physicalBytes']]).toEqual([GIVEN_BACK_MIB * MIB, GIVEN_BACK_MIB * MIB]);
      }
    }
  };
  const inOrder = async (): Promise<void> => {
    const { code, stdout, stderr } = await runGatepath('verify', data);
    expect([code, code === 0 ? '' : stdout + stderr]).toEqual([0, '']);
  };
  const verified = async (): Promise<void> => {
    const client = await connect();
    expect(await verifyRegions(client, regions, true), `seed ${seed}`).toEqual([]);
    await client.disconnect();
  };

  it('lets writes wait, and reads, trims and deletions go on; they give the space back that it waits for', async () => {
    await system.start();
    await gatepath('vdisk', 'create', 'victim', '256M', '--data', data);
    await gatepath('attach', 'victim', '--data', data);
    await gatepath('vdisk', 'create', 'trimmed', '128M', '--data', data);
    await gatepath('attach', 'trimmed', '--data', data);
    for (const name of ['victim', 'trimmed']) {
      const client = await connect(name);
      for (let i = 0; i < GIVEN_BACK_MIB; i++) await client.write(i * MIB, Buffer.alloc(MIB, i + 1));
      await client.disconnect();
    }
    // What is in the log alone has no space yet that a trim could give back.
    await within('drained', 30_000, drained('victim', 'trimmed'));
    const load = new VerifiedLoad({ connect, regions, random });
    await load.start();
    await sleep(random.between(500, 3_000));
    disk.fill();
    await within('the disk is full', 60_000, standsStill(load));
    // Reads and trims of others, while everything waits.
    const trimmed = await connect('trimmed');
    expect((await trimmed.read(5 * MIB, 4096))[0]).toBe(6);
    await within('trims', 10_000, trimmed.trim(0, GIVEN_BACK_MIB * MIB));
    await within('goes on after a trim', 30_000, goesOn(load));
    disk.fill();
    await within('the disk is full again', 90_000, standsStill(load));
    await gatepath('detach', 'victim', '--data', data);
    await gatepath('vdisk', 'delete', 'victim', '--data', data);
    await within('goes on after a deletion', 30_000, goesOn(load));
    await load.stop();
    expect(load.faults, `seed ${seed}`).toEqual([]);
    await trimmed.disconnect();
    expect((await status()).vdisks.deleting).toBe(0);
    await verified();
    await system.stop();
  });

  it('answers ENOSPC by the policy "error", starts while it is full, and has everything then', async () => {
    disk.empty();
    await system.start();
    await gatepath('container', 'set', 'default', '--enospc', 'error', '--data', data);
    const load = new VerifiedLoad({ connect, regions, random, isExpected: ({ errnoCode }) => errnoCode === ENOSPC });
    await load.start();
    await sleep(random.between(500, 3_000));
    disk.fill();
    await within(
      'ENOSPC',
      60_000,
      (async () => {
        while (load.counts.refused < 50) await sleep(50);
      })(),
    );
    await system.kill();
    await within('end of the load', 10_000, load.ended());
    expect(load.faults, `seed ${seed}`).toEqual([]);
    disk.fill();
    await within('a start while the disk is full', 60_000, system.start());
    await verified();
    disk.empty();
    const next = new VerifiedLoad({ connect, regions, random, isExpected: ({ errnoCode }) => errnoCode === ENOSPC });
    await next.start();
    await within('goes on', 30_000, goesOn(next));
    await next.stop();
    expect(next.faults, `seed ${seed}`).toEqual([]);
    await verified();
    await system.stop();
    await inOrder();
  });

  it('keeps what was acknowledged over two restarts while writes wait, and they go on when there is space', async () => {
    disk.empty();
    await system.start();
    await gatepath('container', 'set', 'default', '--enospc', 'wait', '--data', data);
    const waiting = async (): Promise<VerifiedLoad> => {
      const load = new VerifiedLoad({ connect, regions, random });
      await load.start();
      await sleep(random.between(500, 3_000));
      disk.fill();
      await within('the disk is full', 90_000, standsStill(load));
      return load;
    };
    const endOf = async (load: VerifiedLoad): Promise<void> => {
      await within('end of the load', 10_000, load.ended());
      expect(load.faults, `seed ${seed}`).toEqual([]);
      // Whoever writes beside it takes what it has not taken.
      disk.fill();
    };
    let load = await waiting();
    await system.kill();
    await endOf(load);
    await within('a start while the disk is full', 60_000, system.start());
    await verified();
    load = await waiting();
    await system.kill();
    await endOf(load);
    // What was kept back for a start is used up.
    await expect(system.start()).rejects.toThrow(/ENOSPC.*\n.*file system is full.*make room|ERR_OPLOG_SPACE|make space/);
    disk.empty();
    await system.start();
    await verified();
    load = await waiting();
    disk.empty();
    await within('goes on', 30_000, goesOn(load));
    await load.stop();
    expect(load.faults, `seed ${seed}`).toEqual([]);
    await verified();
    await system.stop();
    await inOrder();
  });

  it('ends an import that finds no space, also where writes wait, and has its space back', async () => {
    await system.start();
    const names = async () =>
      (JSON.parse(await gatepath('vdisk', 'list', '--json', '--data', data)) as { name: string }[]).map(({ name }) => name);
    const [before, freeBytes] = [await names(), disk.freeBytes];
    const image = `${dir}/image.raw`;
    for (let i = 0; i < IMAGE_MIB; i++) appendFileSync(image, Buffer.alloc(MIB, 1 + (i % 255)));
    // Some is left: it has begun, and gets into the extents, when there is none.
    const filling = sleep(1_000).then(() => disk.fill());
    const { code, stderr } = await runGatepath('vdisk', 'import', 'big', image, '--data', data);
    await filling;
    expect([code, stderr]).toEqual([1, expect.stringMatching(/vdisk "big" is not copied: .*; there is no space on /)]);
    expect(await names()).toEqual(before);
    disk.empty();
    await waitFor('its space', 60_000, async () => (await status()).vdisks.deleting === 0 && disk.freeBytes >= freeBytes - 2 * 64 * MIB);
    await verified();
    await system.stop();
    await inOrder();
  });
});
