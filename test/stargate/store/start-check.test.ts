import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LmdbAt, LmdbImage } from '../../../src/base/lmdb-image.js';
import { chunkKey, encodeLayer, encodeSegment, KeyKind, layerKey, segmentKey } from '../../../src/stargate/store/format.js';
import { openDatabase, transactionIn } from '../../../src/stargate/store/lmdb.js';
import { damageAtStart } from '../../../src/stargate/store/start-check.js';

const PAGE_BYTES = 4_096;
const CHUNKS = 200;

let directory: string;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'gatepath-start-'));
  const database = openDatabase(directory);
  database.transactionSync(() => {
    const txn = transactionIn(database);
    txn.put(layerKey(1), encodeLayer(1, { vdiskId: 'v', deleting: false }));
    txn.put(segmentKey(1, 0), encodeSegment(1, 0, { drainSeq: 1, dataBlocks: 1, baseState: 0, baseSeq: 0 }));
    for (let chunk = 0; chunk < CHUNKS; chunk++) txn.put(chunkKey(1, 0, chunk), Buffer.alloc(600));
  });
  await database.close();
});
afterEach(() => rmSync(directory, { recursive: true }));

const file = (): string => join(directory, 'data.mdb');

function flip(page: number, at: number): void {
  const fd = openSync(file(), 'r+');
  writeSync(fd, Buffer.of(readFileSync(file())[page * PAGE_BYTES + at]! ^ 0xff), 0, 1, page * PAGE_BYTES + at);
  closeSync(fd);
}

/** The pages that have the records, in order. */
function leaves(): number[] {
  const bytes = readFileSync(file());
  const image = new LmdbImage((atBytes, lengthBytes) => bytes.subarray(atBytes, atBytes + lengthBytes), bytes.length);
  return [...image.pages(Buffer.alloc(0), { next: null })].map(({ page }) => page);
}

describe('the check of a database before a start opens it', () => {
  it('finds nothing in one that is whole, is not there, or has no content', () => {
    expect([damageAtStart(directory), damageAtStart(directory, 0)]).toEqual([null, null]);
    expect(damageAtStart(join(directory, 'nowhere'))).toBe(null);
    writeFileSync(file(), '');
    expect(damageAtStart(directory)).toBe(null);
  });

  it('finds a damaged page; of a large one, those that have its layers and segments', () => {
    const [first, , , later] = leaves() as [number, number, number, number];
    flip(later, LmdbAt.flags);
    expect(damageAtStart(directory)).toMatchObject({ page: later, message: expect.stringMatching(/^flags/) as string });
    expect(damageAtStart(directory, 0)).toBe(null);
    flip(first, LmdbAt.flags);
    for (const limit of [undefined, 0]) expect(damageAtStart(directory, limit)).toMatchObject({ page: first });
  });

  it('finds a file that is none, or that is cut', () => {
    truncateSync(file(), 3 * PAGE_BYTES);
    for (const limit of [undefined, 0]) expect(damageAtStart(directory, limit)).not.toBe(null);
    writeFileSync(file(), Buffer.alloc(100_000, 0x55));
    for (const limit of [undefined, 0]) expect(damageAtStart(directory, limit)).toMatchObject({ message: 'no beginning of a database' });
  });

  it('lets pass what the library does not look at: the running node tells it', () => {
    flip(leaves()[0]!, LmdbAt.transaction + 7);
    for (const limit of [undefined, 0]) expect(damageAtStart(directory, limit)).toBe(null);
  });

  it('takes records of chunks for the last ones', () => {
    expect(Math.max(...Object.values(KeyKind))).toBe(KeyKind.chunk);
  });
});
