import { describe, expect, it } from 'vitest';
import { IoOp, MAX_MAP_EXTENTS } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { MAX_MAP_BLOCKS } from '../../../src/stargate/core/limits.js';
import { SEGMENT_BYTES } from '../../../src/stargate/core/ports.js';
import type { CoreClient } from './core-client.js';
import { blocks, CoreRig } from './core-rig.js';

const BLOCK = 4096;
const DATA = 0;
const HOLE = 3;

function started(): { rig: CoreRig; client: CoreClient } {
  const rig = new CoreRig({ sizeBytes: 2 ** 50 });
  return { rig, client: rig.open() };
}

/** [lengthBytes, flags] of each extent. */
function map(client: CoreClient, offsetBytes: number, lengthBytes: number): [number, number][] {
  const { status, request } = client.request(IoOp.map, offsetBytes, lengthBytes);
  expect(status).toBe(IoStatus.ok);
  return Array.from({ length: request.extentCount }, (_, i) => [request.extents[2 * i]!, request.extents[2 * i + 1]!]);
}

describe('what is allocated', () => {
  it('nothing at first, over any length', () => {
    const { client } = started();
    expect(map(client, 0, 4 * 2 ** 30 - 1)).toEqual([[4 * 2 ** 30 - 1, HOLE]]);
    expect(map(client, 12_345, 1)).toEqual([[1, HOLE]]);
  });

  it('what is in the log, in the extents, and not what was zeroed since', () => {
    const { rig, client } = started();
    rig.drained(0, 10, blocks(1, 1, 1, 1), 1);
    rig.settle();
    client.write(0, blocks(2, 2));
    client.zero(11 * BLOCK, BLOCK);
    client.trim(12 * BLOCK, BLOCK);
    rig.finish();
    expect(map(client, 0, 20 * BLOCK)).toEqual([
      [2 * BLOCK, DATA],
      [8 * BLOCK, HOLE],
      [BLOCK, DATA],
      [2 * BLOCK, HOLE],
      [BLOCK, DATA],
      [6 * BLOCK, HOLE],
    ]);
  });

  it('from inside a block to inside a block', () => {
    const { rig, client } = started();
    client.write(BLOCK, blocks(2));
    rig.finish();
    expect(map(client, 100, BLOCK)).toEqual([
      [BLOCK - 100, HOLE],
      [100, DATA],
    ]);
    expect(map(client, BLOCK + 100, BLOCK)).toEqual([
      [BLOCK - 100, DATA],
      [100, HOLE],
    ]);
  });

  it('over the border of segments, used and unused', () => {
    const { rig, client } = started();
    client.write(SEGMENT_BYTES - BLOCK, blocks(1, 2));
    rig.finish();
    rig.drained(3, 0, blocks(3), 5);
    rig.settle();
    expect(map(client, SEGMENT_BYTES - 2 * BLOCK, 4 * BLOCK)).toEqual([
      [BLOCK, HOLE],
      [2 * BLOCK, DATA],
      [BLOCK, HOLE],
    ]);
    expect(map(client, 3 * SEGMENT_BYTES - BLOCK, 2 * BLOCK)).toEqual([
      [BLOCK, HOLE],
      [BLOCK, DATA],
    ]);
  });

  it('not what is in flight', () => {
    const { rig, client } = started();
    client.write(0, blocks(1));
    expect(map(client, 0, BLOCK)).toEqual([[BLOCK, HOLE]]);
    rig.finish();
    expect(map(client, 0, BLOCK)).toEqual([[BLOCK, DATA]]);
  });

  it('ends early at the most extents, and at the most blocks that one call looks at; at least one extent is said', () => {
    const { rig, client } = started();
    for (let i = 0; i < MAX_MAP_EXTENTS; i++) client.write(2 * i * BLOCK, blocks(1));
    rig.finish();
    const extents = map(client, 0, 4 * MAX_MAP_EXTENTS * BLOCK);
    expect(extents).toHaveLength(MAX_MAP_EXTENTS);
    expect(extents.reduce((sum, [length]) => sum + length, 0)).toBe(MAX_MAP_EXTENTS * BLOCK);
    const [first, ...rest] = map(client, SEGMENT_BYTES / 2, SEGMENT_BYTES / 2);
    expect(rest).toEqual([]);
    expect(first![0]).toBeGreaterThanOrEqual(MAX_MAP_BLOCKS * BLOCK);
    expect(first![0]).toBeLessThan((MAX_MAP_BLOCKS + 128) * BLOCK);
  });
});
