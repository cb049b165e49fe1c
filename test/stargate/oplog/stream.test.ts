import { errno } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { MAX_ENTRY_PAYLOAD_BYTES } from '../../../src/stargate/oplog/index.js';
import { DIRECTORY, LogWorld } from './log-world.js';

const SMALL = { segmentBytes: 256 << 10, segments: 6 };
const LARGE = { segmentBytes: 4 << 20, segments: 6 };

describe('the stream', () => {
  it('acknowledges in order, with the payload readable, several vdisks in one batch', () => {
    const world = new LogWorld(1, 3, SMALL);
    world.start();
    for (let i = 0; i < 30; i++) expect(world.append(world.vdisks[i % 3]!, 4096)).toBe(true);
    expect(world.acks).toBe(0);
    world.settle();
    expect(world.acks).toBe(30);
    // One batch took them all.
    expect(world.stream.statistics().batches).toBe(1);
    for (const entry of world.vdisks[1]!.entries) world.read(entry);
  });

  it('tells who wants to know that an entry is held, before it is on the disk, and reads it from memory until then', () => {
    const world = new LogWorld(16, 2, SMALL);
    world.start();
    const told: string[] = [];
    const [vdisk, other] = world.vdisks as [LogWorld['vdisks'][number], LogWorld['vdisks'][number]];
    world.holds = tag => {
      told.push(`held ${tag}`);
      if (told.length === 1) world.append(vdisk, 4096);
    };
    world.append(vdisk, 8192);
    world.append(other, 4096);
    expect(told).toEqual([]);
    world.rig.engine.turn();
    // The third one was appended meanwhile.
    expect(told).toEqual(world.expected.map(({ tag }) => `held ${tag}`));
    expect([told.length, world.acks]).toEqual([3, 0]);
    const reads: number[] = [];
    const at = world.readHeld(vdisk.entries[0]!, result => reads.push(result));
    expect(reads).toEqual([8192]);
    const held = world.arena.bytes.slice(at, at + 8192);
    world.arena.bytes.fill(0, at, at + 8192);
    world.settle();
    expect([told.length, world.acks]).toEqual([3, 3]);
    world.readHeld(vdisk.entries[0]!, result => reads.push(result));
    expect(reads.length).toBe(1);
    world.rig.until(() => reads.length === 2);
    expect(reads).toEqual([8192, 8192]);
    expect(world.arena.bytes.slice(at, at + 8192)).toEqual(held);
  });

  it('takes more entries than the first page of a batch has headers for', () => {
    const world = new LogWorld(2, 2, LARGE);
    world.start();
    for (let i = 0; i < 280; i++) expect(world.append(world.vdisks[i % 2]!, i % 5 === 0 ? 0 : 4096)).toBe(true);
    world.settle();
    expect(world.stream.statistics().batches).toBe(1);
    world.rig.powerCut();
    world.start();
    expect(world.report).toMatchObject({ clean: false, entries: 280 });
  });

  it('takes the longest entries, and control records of any length', () => {
    const world = new LogWorld(3, 1, LARGE);
    world.start();
    const [vdisk] = world.vdisks as [LogWorld['vdisks'][number]];
    expect(world.append(vdisk, MAX_ENTRY_PAYLOAD_BYTES)).toBe(true);
    expect(world.append(vdisk, MAX_ENTRY_PAYLOAD_BYTES - 7, EntryKind.head)).toBe(true);
    expect(world.append(vdisk, 1, EntryKind.promise)).toBe(true);
    world.settle();
    world.rig.powerCut();
    world.start();
    expect(vdisk.ackedSeq).toBe(3);
  });

  it('goes on after a clean stop where it ended, and says that it was clean', () => {
    const world = new LogWorld(4, 2, SMALL);
    world.start();
    for (let round = 0; round < 5; round++) {
      for (const vdisk of world.vdisks) world.append(vdisk, 4096);
      world.settle();
      world.close();
      world.rig.powerCut();
      world.start();
      expect(world.report).toMatchObject({ clean: true, tornBytes: 0, entries: 2 * (round + 1) });
      expect(world.stream.statistics().liveSegments).toBe(1);
    }
  });

  it('refuses when the log is full, keeps room for control records, and goes on when the slowest vdisk has passed', () => {
    const world = new LogWorld(5, 2, SMALL);
    world.start();
    const [fast, slow] = world.vdisks as [LogWorld['vdisks'][number], LogWorld['vdisks'][number]];
    world.append(slow, 4096);
    let refused = 0;
    for (let i = 0; i < 20_000 && refused < 50; i++) {
      if (!world.append(fast, 16384)) refused++;
      world.rig.steps(2);
    }
    world.settle();
    expect(refused).toBe(50);
    expect(world.stream.usage.usedBytes).toBeGreaterThan(world.stream.usage.capacityBytes * 0.9);
    world.truncate(fast, fast.ackedSeq);
    expect(world.append(fast, 16384)).toBe(false);
    const before = world.spaceCalls;
    expect(world.append(slow, 9000, EntryKind.head)).toBe(true);
    world.settle();
    world.truncate(slow, slow.ackedSeq);
    world.rig.steps(2);
    expect(world.spaceCalls).toBeGreaterThan(before);
    expect(world.stream.usage.usedBytes).toBeLessThan(2 * SMALL.segmentBytes);
    for (let i = 0; i < 10; i++) expect(world.append(fast, 16384)).toBe(true);
    world.settle();
    world.rig.powerCut();
    world.start();
  });

  it('keeps room for heads, promises and cuts, however often sessions are opened while it is full', () => {
    const world = new LogWorld(15, 1, SMALL);
    world.start();
    const [vdisk] = world.vdisks as [LogWorld['vdisks'][number]];
    const fill = (bytes: number, kind: EntryKind): number => {
      let taken = 0;
      for (let refused = 0; refused < 50;) {
        if (world.append(vdisk, bytes, kind)) taken++;
        else refused++;
        world.settle();
      }
      return taken;
    };
    fill(16384, EntryKind.write);
    // What opens and resumed sessions write.
    expect(fill(100, EntryKind.sessionOpen)).toBeGreaterThan(5);
    expect(world.append(vdisk, 0, EntryKind.confirm)).toBe(false);
    const { usage } = world.stream;
    for (let i = 0; i < 3; i++) {
      expect(world.append(vdisk, 30_000, EntryKind.head)).toBe(true);
      world.settle();
    }
    world.truncate(vdisk, vdisk.ackedSeq);
    world.rig.steps(2);
    expect(usage.usedBytes).toBeLessThan(2 * SMALL.segmentBytes);
    expect(world.append(vdisk, 0, EntryKind.confirm)).toBe(true);
    expect(world.append(vdisk, 16384)).toBe(true);
    world.settle();
    world.rig.powerCut();
    world.start();
  });

  it('turns over its segments many times', () => {
    const world = new LogWorld(6, 3, SMALL);
    world.start();
    for (let i = 0; i < 2_000; i++) {
      const vdisk = world.vdisks[i % 3]!;
      if (!world.append(vdisk, 4096 * (1 + (i % 4)))) world.rig.until(() => world.spaceCalls > 0);
      world.spaceCalls = 0;
      world.rig.steps(2);
      if (vdisk.ackedSeq > vdisk.neededSeq + 20) world.truncate(vdisk, vdisk.ackedSeq - 3);
    }
    world.settle();
    expect(world.stream.usage.endLsn).toBeGreaterThan(SMALL.segmentBytes * SMALL.segments * 3);
    expect(world.rig.engine.files.list(DIRECTORY).length).toBeLessThanOrEqual(SMALL.segments);
    world.rig.powerCut();
    world.start();
    expect(world.report.segments).toBeLessThanOrEqual(SMALL.segments);
  });

  it('is poisoned by a failed write: no acknowledgement after it', () => {
    const world = new LogWorld(7, 2, SMALL);
    world.start();
    world.append(world.vdisks[0]!, 4096);
    world.settle();
    world.rig.disk.faults.add({ operation: 'write', error: 5, times: Infinity });
    world.append(world.vdisks[0]!, 4096);
    world.append(world.vdisks[1]!, 4096);
    world.rig.until(() => world.failed !== 0);
    world.rig.disk.faults.clear();
    expect(world.append(world.vdisks[0]!, 4096)).toBe(false);
    world.rig.settle();
    expect(world.acks).toBe(1);
    let closed = 1;
    world.stream.close(errno => (closed = errno));
    world.rig.until(() => closed !== 1);
    expect(closed).toBe(-5);
    world.rig.powerCut();
    world.vdisks[0]!.entries.length = 3;
    world.start();
    expect(world.report.clean).toBe(false);
  });

  it('is not poisoned by a full file system: it says so at the start, and goes on with the segments it has', () => {
    const world = new LogWorld(10, 1, SMALL);
    const { faults } = world.rig.disk;
    faults.add({ operation: 'allocate', error: errno.ENOSPC });
    expect(() => world.start()).toThrow(expect.objectContaining({ code: 'ERR_OPLOG_SPACE' }));
    world.rig.powerCut();
    world.start();
    // Names, space and data of the segments to come: each can be what the file system has no room for.
    for (const operation of ['open', 'allocate', 'write'] as const)
      faults.add({ operation, path: /\.new$/, error: errno.ENOSPC, times: 2 });
    for (let i = 0; world.acks < 300; i++) {
      if (world.append(world.vdisks[0]!, 16384)) world.settle();
      // As a drain's timer does: time passes, and the loop turns.
      if (i % 20 === 0) world.rig.clock.runUntil(world.rig.clock.nowNs + 1.1e9);
      world.rig.engine.poke();
      if (world.vdisks[0]!.ackedSeq > world.vdisks[0]!.neededSeq) world.truncate(world.vdisks[0]!, world.vdisks[0]!.ackedSeq);
    }
    expect(faults.struck).toBe(7);
    expect(world.failed).toBe(0);
  });

  it('has room for control records after every start, however full it is', () => {
    const world = new LogWorld(11, 1, SMALL);
    world.start();
    const [vdisk] = world.vdisks as [LogWorld['vdisks'][number]];
    for (const kind of [EntryKind.write, EntryKind.head]) {
      for (let refused = 0; refused < 30;) {
        if (!world.append(vdisk, 16384, kind)) refused++;
        world.rig.steps(20);
      }
    }
    for (let round = 0; round < 3; round++) {
      world.settle();
      world.close();
      world.start();
      expect(world.report).toMatchObject({ clean: true });
      for (let i = 0; i < 8; i++) expect(world.append(vdisk, 16384, EntryKind.head)).toBe(true);
    }
    world.settle();
    world.truncate(vdisk, vdisk.ackedSeq);
    world.rig.settle();
    for (let i = 0; i < 100; i++) {
      world.append(vdisk, 16384);
      world.settle();
      world.truncate(vdisk, vdisk.ackedSeq);
    }
    // What was made beyond the capacity is gone.
    expect(world.rig.engine.files.list(DIRECTORY).length).toBeLessThanOrEqual(SMALL.segments);
  });

  it('writes the durable position down when it goes idle, once', () => {
    const world = new LogWorld(8, 1, SMALL);
    world.start();
    world.append(world.vdisks[0]!, 4096);
    world.settle();
    world.rig.settle();
    expect(world.stream.statistics()).toMatchObject({ batches: 2, markers: 1 });
    world.rig.powerCut();
    world.start();
    expect(world.report.durableLsn).toBeGreaterThan(world.vdisks[0]!.entries[0]!.lsn);
  });

  it('does not use up the log by starting and crashing', () => {
    const world = new LogWorld(9, 1, SMALL);
    world.start();
    world.append(world.vdisks[0]!, 4096);
    world.settle();
    for (let i = 0; i < 30; i++) {
      world.rig.powerCut();
      world.start();
    }
    expect(world.stream.statistics().liveSegments).toBeLessThanOrEqual(2);
  });
});
