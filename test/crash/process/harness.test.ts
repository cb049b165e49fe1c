import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { check } from '../../support/process.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { NbdClient } from '../../support/nbd/client.js';
import { Random } from '../../support/random.js';
import { NbdkitSystem } from '../../support/system.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep } from '../../support/wait.js';
import { VerifiedLoad, verifyRegions } from '../load/load.js';
import { CRASH_EXPORT_BYTES, crashRegions, runCrashRounds } from './rounds.js';

const missing = missingPrograms('nbdkit');

// A crash test that cannot fail proves nothing: servers that lose, keep and spoil data, told apart.
describe.skipIf(missing.length > 0)(`crash harness${missingNote(missing)}`, () => {
  const dir = makeTempDir('crash');
  const image = join(dir, 'image');
  afterAll(() => removeTempDir(dir));

  it('passes a server that keeps acknowledged writes', async () => {
    await check(['truncate', '-s', String(CRASH_EXPORT_BYTES), image]);
    const system = new NbdkitSystem(join(dir, 'keeps'), ['file', image]);
    const result = await runCrashRounds({ system, rounds: 2, seed: 1, maxLoadMs: 400 });
    await system.kill();
    expect(result.faults).toEqual([]);
    expect(result.acknowledgedWrites).toBeGreaterThan(100);
    expect(result.unanswered).toBeGreaterThan(0);
  });

  it('catches a server that forgets them', async () => {
    const system = new NbdkitSystem(join(dir, 'forgets'), ['memory', String(CRASH_EXPORT_BYTES)]);
    const result = await runCrashRounds({ system, rounds: 1, seed: 2, maxLoadMs: 400 });
    await system.kill();
    expect(result.faults[0]).toMatch(/older than what was acknowledged/);
  });

  it('catches a torn unit, a misplaced one and an old one', async () => {
    await check(['truncate', '-s', '0', image]);
    await check(['truncate', '-s', String(CRASH_EXPORT_BYTES), image]);
    const system = new NbdkitSystem(join(dir, 'spoils'), ['file', image]);
    await system.start();
    const regions = crashRegions(3);
    const connect = () => NbdClient.connect({ socket: system.socket }, '');
    const load = new VerifiedLoad({ connect, regions, random: new Random(3) });
    await load.start();
    await sleep(500);
    await load.stop();
    expect(load.faults).toEqual([]);
    const client = await connect();
    expect(await verifyRegions(client, regions, true)).toEqual([]);
    const [first, second] = await writtenUnits(client, 2);
    const before = await client.read(first! * 4096, 4096);

    const torn = Buffer.from(before);
    torn.fill(0xee, 2048, 2560);
    await writeFileAt(image, torn, first! * 4096);
    expect((await verifyRegions(client, regions, false)).join()).toMatch(/torn/);

    await writeFileAt(image, before, first! * 4096);
    expect(await verifyRegions(client, regions, false)).toEqual([]);
    await writeFileAt(image, before, second! * 4096);
    expect((await verifyRegions(client, regions, false)).join()).toMatch(new RegExp(`unit ${second}: holds unit ${first}`));

    await writeFileAt(image, Buffer.alloc(4096), second! * 4096);
    expect((await verifyRegions(client, regions, false)).join()).toMatch(/holds zeroes, which is older/);
    await client.disconnect();
    await system.stop();
  });
});

async function writtenUnits(client: NbdClient, count: number): Promise<number[]> {
  const found: number[] = [];
  for (let unit = 0; found.length < count && unit < 8192; unit++) {
    const data = await client.read(unit * 4096, 8);
    if (data.readBigUInt64LE(0) !== 0n) found.push(unit);
  }
  return found;
}

async function writeFileAt(path: string, data: Buffer, offsetBytes: number): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(data, 0, data.length, offsetBytes);
  await file.close();
}
