import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { gatepath, runGatepath } from '../support/gatepath.js';
import { GatepathCluster, isAlive } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep, waitFor, within } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 60_000;
const PAGE = 4_096;
const BLOCKS = 32;
/** As poison.mjs has it. */
const POISONED_BYTES = 5 << 20;
/** Long enough for another takeover, and whatever would follow it. */
const STILL_MS = 1_500;
/** A verb is a process. */
const ASK_EVERY_MS = 400;

interface Shown {
  readonly controller: string;
  readonly health: string;
  readonly problem: string | null;
}

/** Rule 19: three real nodes of which each dies of one request. */
describe.skipIf(missing.length > 0)(`a request that its controllers die of${missingNote(missing)}`, () => {
  const dir = makeTempDir('quarantine');
  const poison = join(dir, 'poison');
  const mutant = new URL('poison.mjs', import.meta.url);
  const cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: 3, extraArgs: ['--restart', '--rf', '3'], mutant });
  const data = cluster.options.dataDir;
  afterAll(async () => {
    await cluster.kill();
    removeTempDir(dir);
  });

  const verb = (...args: readonly string[]): Promise<string> => gatepath(...args, '--data', data);
  const show = async (name: string): Promise<Shown> => JSON.parse(await verb('vdisk', 'show', name, '--json')) as Shown;
  const connect = (name: string): Promise<NbdClient> =>
    waitFor(`NBD of ${name}`, WAIT_MS, () => NbdClient.connect({ socket: cluster.nbdSocket }, name).catch(() => undefined));
  const pids = (): number[] => cluster.file.nodes.map(({ pid }) => pid);

  async function fill(client: NbdClient, value: number): Promise<void> {
    await Promise.all(Array.from({ length: BLOCKS }, (_, i) => client.write(i * PAGE, Buffer.alloc(PAGE, value))));
  }

  async function contents(client: NbdClient): Promise<number[]> {
    const found = await Promise.all(Array.from({ length: BLOCKS }, (_, i) => client.read(i * PAGE, PAGE)));
    return [...new Set(found.map(block => block[0]!))];
  }

  it('costs two of them and not the third, which serves the other vdisks; its own waits until it is released, and has lost nothing', async () => {
    process.env['GATEPATH_POISON'] = poison;
    await cluster.start();
    for (const name of ['sick', 'well']) {
      await verb('vdisk', 'create', name, '64M');
      await verb('attach', name);
    }
    const [sick, well] = [await connect('sick'), await connect('well')];
    await fill(sick, 1);
    await fill(well, 1);
    const before = pids();

    writeFileSync(poison, '');
    const failures: unknown[] = [];
    for (let i = 0; i < 8; i++) sick.write((BLOCKS + i) * PAGE, Buffer.alloc(PAGE, 7)).catch((error: unknown) => failures.push(error));
    sick.write(POISONED_BYTES, Buffer.alloc(PAGE, 7)).catch((error: unknown) => failures.push(error));
    const quarantined = await waitFor(
      'the quarantine',
      WAIT_MS,
      async () => {
        const said = await show('sick').catch(() => undefined);
        return said?.problem?.includes('quarantined') === true && said;
      },
      ASK_EVERY_MS,
    );
    expect(quarantined.health).toBe('unavailable');
    expect(quarantined.problem).toMatch(new RegExp(`node-\\d and node-\\d died, .* a write of ${PAGE} bytes at ${POISONED_BYTES}`));
    expect(before.filter(isAlive)).toHaveLength(1);
    await fill(well, 2);
    expect(await contents(well)).toEqual([2]);
    const status = await runGatepath('status', '--data', data);
    expect(status.stdout).toContain('quarantined since');

    expect(failures).toEqual([]);

    // A datapath that comes after this one has not seen it: the record has.
    const { pid } = cluster.file.datapath;
    process.kill(pid, 'SIGKILL');
    await waitFor('another datapath', WAIT_MS, () => cluster.file.datapath.pid !== pid && isAlive(cluster.file.datapath.pid));
    const [again, fine] = [await connect('sick'), await connect('well')];
    const poisoned = again.write(POISONED_BYTES, Buffer.alloc(PAGE, 8));
    let isAnswered = false;
    void poisoned.finally(() => (isAnswered = true));
    await fill(fine, 3);
    await sleep(STILL_MS);
    expect(isAnswered).toBe(false);
    expect(before.filter(isAlive)).toHaveLength(1);

    rmSync(poison);
    expect(await verb('vdisk', 'release', 'sick')).toContain(`a write of ${PAGE} bytes at ${POISONED_BYTES}`);
    await within('the write that waited', WAIT_MS, poisoned);
    expect((await again.read(POISONED_BYTES, PAGE))[0]).toBe(8);
    expect(await contents(again)).toEqual([1]);
    expect(await contents(fine)).toEqual([3]);
    const { stderr, code } = await runGatepath('vdisk', 'release', 'sick', '--data', data);
    expect({ code, said: stderr.includes('is not quarantined') }).toEqual({ code: 1, said: true });
    await Promise.all([again.disconnect(), fine.disconnect()]);
  });
});
