import { mkdtempSync, openSync, readFileSync, rmSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LmdbAt, LmdbImage, type LmdbDamage } from '../../../src/base/lmdb-image.js';
import { encodeSegment, layerKey, encodeLayer, segmentKey } from '../../../src/stargate/store/format.js';
import { openDatabase, transactionIn, type StoreDatabase } from '../../../src/stargate/store/lmdb.js';
// The store thread is a worker, and a worker runs compiled code.
import { StoreHandle } from '../../../dist/stargate/store/store-handle.js';
import type { StoreCommand } from '../../../src/stargate/store/messages.js';
import { BlockState } from '../../../src/stargate/core/ports.js';
import { PageCheck } from '../../../src/stargate/store/page-check.js';
import { drainOf } from './contract.js';
import { sleep, waitFor } from '../../support/wait.js';

const LIMIT_MS = 60_000;
const PAGE_BYTES = 4_096;
/** Some hundred leaves: several pieces of a pass. */
const SEGMENTS = 20_000;
const DRAINS = 1_000;
const SEGMENT = { drainSeq: 1, dataBlocks: 1, baseState: 0, baseSeq: 0 } as const;

let directory: string;
let database: StoreDatabase;
let check: PageCheck | null;
let found: LmdbDamage[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'gatepath-pages-'));
  database = openDatabase(directory);
  database.transactionSync(() => {
    const txn = transactionIn(database);
    txn.put(layerKey(1), encodeLayer(1, { vdiskId: 'v', deleting: false }));
    for (let segment = 0; segment < SEGMENTS; segment++) txn.put(segmentKey(1, segment), encodeSegment(1, segment, SEGMENT));
  });
  check = null;
  found = [];
});

afterEach(async () => {
  await check?.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

const file = (): string => join(directory, 'data.mdb');
const image = (): LmdbImage => {
  const bytes = readFileSync(file());
  return new LmdbImage((atBytes, lengthBytes) => bytes.subarray(atBytes, atBytes + lengthBytes), bytes.length);
};
const leaves = () => [...image().pages(Buffer.alloc(0), { next: null })];

function flip(atBytes: number, bits = 1): void {
  const fd = openSync(file(), 'r+');
  writeSync(fd, Buffer.of(readFileSync(file())[atBytes]! ^ bits), 0, 1, atBytes);
  closeSync(fd);
}

async function passes(count: number): Promise<void> {
  check ??= new PageCheck({ directory, bytesPerSecond: 2 ** 30, startMs: 0, restMs: 0, onDamage: one => found.push(one) });
  const { passes: before } = check.progress!;
  await waitFor('all pages are read', LIMIT_MS, () => check!.progress!.passes >= before + count, 1);
}

describe('the check of the pages of a database in use', () => {
  it('reads every leaf in pieces, in order, wherever a piece begins', () => {
    const all = leaves();
    expect(all.length).toBeGreaterThan(200);
    const position: { next: Uint8Array | null } = { next: Buffer.alloc(0) };
    const pieces: number[] = [];
    while (position.next !== null) {
      const [first] = image().pages(position.next, position);
      pieces.push(first!.page);
    }
    expect(pieces).toEqual(all.map(({ page }) => page));
    expect(all.flatMap(({ entries }) => entries)).toHaveLength(SEGMENTS + 1);
  });

  it('finds nothing wrong in what the store thread writes meanwhile', async () => {
    const handle = await StoreHandle.start(directory, error => {
      throw error;
    });
    const { port } = handle.connect();
    let answered = 0;
    port.on('message', () => answered++);
    port.postMessage({ kind: 'createLayer', id: 0, vdiskId: 'v' } satisfies StoreCommand);
    const written = join(directory, 'store');
    check = new PageCheck({ directory: written, bytesPerSecond: 2 ** 34, startMs: 0, restMs: 0, onDamage: one => found.push(one) });
    for (let id = 1; id <= DRAINS; id++) {
      // Of a segment each, 64 records; then all of them again, smaller: pages become free, and are used again.
      const segment = id % 50;
      const [fromSeq, toSeq] = [Math.floor(id / 50), Math.floor(id / 50) + 1].map(round => round * 10) as [number, number];
      const runs = Array.from({ length: 64 }, (_, i) => ({
        block: i * 64,
        state: id % 100 < 50 ? BlockState.data : BlockState.zero,
        seq: toSeq,
      }));
      port.postMessage({
        kind: 'drain',
        id,
        drain: drainOf(1, segment, segment === 0 && id === 50 ? 0 : fromSeq, toSeq, runs),
      });
      if (id % 8 === 0) await waitFor('it is written', LIMIT_MS, () => answered > id - 8, 1);
    }
    await waitFor('all is written', LIMIT_MS, () => answered === DRAINS + 1, 1);
    expect(found).toEqual([]);
    expect(check.progress!.passes).toBeGreaterThan(20);
    expect(check.progress!.totalBytes).toBeGreaterThan(64 * PAGE_BYTES);
    await check.close();
    check = null;
    port.close();
    await handle.stop();
  });

  it('is off, and on again, where it was', async () => {
    await passes(1);
    const { passes: before } = check!.progress!;
    check!.setRate(0);
    expect(check!.progress).toBeNull();
    await sleep(100);
    // A piece is read at once; behind it this rate is slower than the test.
    check!.setRate(1);
    await sleep(100);
    expect(check!.progress!.passes - before).toBeLessThanOrEqual(1);
    check!.setRate(2 ** 30);
    expect(check!.progress!.passes - before).toBeLessThanOrEqual(1);
  });

  it('tells a damaged page once, and goes on behind it', async () => {
    const { page } = leaves()[70]!;
    const other = leaves()[150]!.page;
    flip(page * PAGE_BYTES + LmdbAt.pageNumber);
    flip(other * PAGE_BYTES + LmdbAt.flags);
    await passes(2);
    expect(found.map(one => one.page)).toEqual([page, other]);
    expect(found[0]!.message).toBe('it has the number of another page');
    expect(check!.progress!.damaged).toBe(2);
  });

  it('tells a damaged record with its place', async () => {
    const { page, entries } = leaves()[100]!;
    const [key, record] = entries[3]!;
    const bytes = readFileSync(file());
    const at = bytes.indexOf(record, bytes.indexOf(key, page * PAGE_BYTES));
    flip(at + 3);
    await passes(2);
    expect(found).toEqual([{ page, message: expect.stringMatching(/^the record of layer 1, segment \d+: /) as string }]);
  });
});
