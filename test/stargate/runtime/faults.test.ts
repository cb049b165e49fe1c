import { FaultyDisk, FaultyEngine, VirtualClock, type Fault } from 'uring-engine/faulty';
import { describe, expect, it } from 'vitest';
import { SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { DRAIN_LIMITS } from '../../../src/stargate/runtime/limits.js';
import { expectBytes } from '../bytes.js';
import { delay, describeVdisk, pattern, Rig, VDISK, type Scenario, type Step, type TestSession } from './rig.js';

const MIB = 1 << 20;
const { ok, noSpace } = IoStatus;
const OTHER = '7f3a1c22-0b1d-4c5e-8f60-112233445566';
const ENOSPC = 28;
const EIO = 5;

/** A machine whose disk goes wrong on demand, in virtual time. */
class Machine {
  readonly clock = new VirtualClock(1);
  readonly disk = new FaultyDisk({ random: this.clock.random });
  readonly storeDisk = new SimulatedStoreDisk();
  #term = 0;

  /** One life of the node; it ends without a word unless the scenario stops it. Whatever it leaves, its rig shows. */
  async run(scenario: (rig: Rig) => Scenario, vdisks = [VDISK]): Promise<Rig> {
    const term = ++this.#term;
    const descriptions = vdisks.map(vdiskId => describeVdisk(term, 2 * 2 ** 30, vdiskId));
    const rig = new Rig(arena => new FaultyEngine(arena, this.clock, this.disk), '/node', this.storeDisk, descriptions);
    await rig.run(function* (given): Scenario {
      yield given.serving;
      yield* scenario(given);
    });
    return rig;
  }

  /** A session of its own in each life: its numbers begin anew. */
  open(rig: Rig, vdiskId = VDISK): Step {
    return rig.open(this.#term, 'a', 0, vdiskId);
  }

  /** From now on the file system has so much room left. */
  leave(bytes: number): void {
    this.disk.capacityBytes = this.disk.usedBytes + bytes;
  }

  break(fault: Fault): void {
    this.disk.faults.add(fault);
  }
}

/** Megabytes from `from` on, until one is refused; how many went in. */
function* fill(session: TestSession, from: number, most: number): Generator<Step, number, unknown> {
  for (let i = 0; i < most; i++) {
    const status = yield session.write((from + i) * MIB, pattern(MIB, from + i));
    if (status === noSpace) return i;
    expect(status).toBe(ok);
  }
  return most;
}

function* readAll(session: TestSession, count: number): Generator<Step, void, unknown> {
  for (let i = 0; i < count; i++) expectBytes(yield session.read(i * MIB, MIB), pattern(MIB, i));
}

describe('a full file system', () => {
  it('answers ENOSPC when the log is full and drains find no room, loses nothing, and goes on when there is room', async () => {
    const machine = new Machine();
    let written = 0;
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield* fill(session, 0, 4)).toBe(4);
      // The log has its segments; the extents get two more megabytes.
      yield delay(rig, 20e9);
      machine.leave(2 * MIB);
      written = 4 + (yield* fill(session, 4, 100));
      expect(written).toBeLessThan(40);
      expect(rig.node.streams[0]!.log.usage.usedBytes).toBeGreaterThan(10 * MIB);
      // What is left of the last segment takes small ones; then those are refused as well, also over what has its space.
      let small = 0;
      while ((yield session.write(500 * MIB, pattern(4096, 99))) === ok) small++;
      expect(small).toBeLessThan(1_000);
      expect(yield session.zero(100, 50)).toBe(noSpace);
      yield* readAll(session, written);
      expect([rig.fatal, rig.corrupt, rig.fullSaid]).toEqual(['', [], [true]]);
    });
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      yield* readAll(session, written);
      yield delay(rig, 5e9);
      expect(yield session.write(200 * MIB, pattern(MIB, 1))).toBe(noSpace);
      machine.disk.capacityBytes = Infinity;
      yield delay(rig, 5e9);
      expect(yield* fill(session, written, 60)).toBe(60);
      yield* readAll(session, written + 60);
      expect([rig.fatal, rig.corrupt, rig.fullSaid]).toEqual(['', [], [true, false]]);
    });
  });

  it('is told to what waits already when a drain finds it', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      machine.break({ path: '/node/extents', operation: 'write', error: 'hang', times: DRAIN_LIMITS.calm.lanes });
      const statuses: unknown[] = [];
      const write = (i: number): void => {
        if (i < 40) session.write(i * MIB, pattern(MIB, i))(status => (statuses.push(status), write(i + 1)));
      };
      write(0);
      yield delay(rig, 10e9);
      // The log is full, and nobody knows yet that it stays so.
      const { length } = statuses;
      expect(length).toBeLessThan(40);
      expect(statuses.every(status => status === ok)).toBe(true);
      machine.break({ path: '/node/extents', operation: 'write', error: ENOSPC, times: Infinity });
      machine.disk.faults.release();
      yield delay(rig, 0.5e9);
      expect(statuses.slice(length)).toEqual(new Array(40 - length).fill(noSpace));
    });
  });

  it('is no reason to refuse anything while drains find room: what waits, waits', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield* fill(session, 0, 60)).toBe(60);
      // Everything has its space now.
      yield delay(rig, 20e9);
      machine.leave(0);
      for (let i = 0; i < 60; i++) expect(yield session.write(i * MIB, pattern(MIB, i + 100))).toBe(ok);
      for (let i = 0; i < 60; i++) expectBytes(yield session.read(i * MIB, MIB), pattern(MIB, i + 100));
    });
  });

  it('gets the space of trims and zeroes back before it writes: a change of both goes in', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield* fill(session, 20, 20)).toBe(20);
      yield delay(rig, 20e9);
      const before = machine.disk.usedBytes;
      machine.leave(0);
      // Behind what is written: the order of blocks would write first.
      expect(yield session.zero(30 * MIB, 4 * MIB, IoOp.trim)).toBe(ok);
      expect(yield session.zero(34 * MIB, 4 * MIB)).toBe(ok);
      expect(yield* fill(session, 0, 8)).toBe(8);
      yield delay(rig, 20e9);
      expect(machine.disk.usedBytes).toBeLessThanOrEqual(before);
      expect(rig.node.served.get(VDISK)!.controller.index.isEmpty).toBe(true);
      for (let i = 30; i < 38; i++) expectBytes(yield session.read(i * MIB, MIB), new Uint8Array(MIB));
      for (let i = 0; i < 8; i++) expectBytes(yield session.read(i * MIB, MIB), pattern(MIB, i));
    });
  });

  it('in the block store alone: is the same', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      rig.store.isFull = true;
      const written = yield* fill(session, 0, 100);
      expect(written).toBeGreaterThan(10);
      expect(written).toBeLessThan(40);
      rig.store.isFull = false;
      yield delay(rig, 5e9);
      expect(yield* fill(session, written, 60)).toBe(60);
      yield* readAll(session, written + 60);
      expect(rig.fatal).toBe('');
    });
  });

  it('lets a node start', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      // Two segments of the log in use and none ready: there is no room for more.
      machine.break({ path: '/node/oplog', operation: 'allocate', error: ENOSPC, times: Infinity });
      machine.break({ path: '/node/extents', operation: 'write', error: ENOSPC, times: Infinity });
      yield* fill(session, 0, 100);
      machine.leave(0);
    });
    machine.disk.faults.clear();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expectBytes(yield session.read(0, MIB), pattern(MIB, 0));
      machine.disk.capacityBytes = Infinity;
      yield delay(rig, 5e9);
      expect(yield session.write(100 * MIB, pattern(MIB, 1))).toBe(ok);
    });
  });

  it('does not keep the disk busy with HEADs that free nothing', async () => {
    const machine = new Machine();
    // The log has the two segments of its start.
    machine.break({ path: '/node/oplog', operation: 'allocate', error: ENOSPC, skip: 2, times: Infinity });
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield* fill(session, 0, 3)).toBe(3);
      yield delay(rig, 20e9);
      const { log } = rig.node.streams[0]!;
      expect(log.statistics()).toMatchObject({ liveSegments: 1, freeSegments: 1 });
      expect(log.usage.usedBytes).toBeGreaterThan(log.usage.capacityBytes / 2);
      expect(log.statistics().entries).toBeLessThan(20);
    });
  });
});

describe('a disk that fails', () => {
  it.each([
    ['a write of the extents', { path: '/node/extents', operation: 'write' }],
    ['a sync of the extents', { path: '/node/extents', operation: 'sync' }],
    ['a hole in the extents', { path: '/node/extents', operation: 'allocate' }],
    ['a sync of their names', { path: '/node/extents', operation: 'syncDirectory' }],
    ['a write of the log', { path: '/node/oplog', operation: 'write', skip: 12 }],
    ['a segment of the log in preparation', { path: '/node/oplog', operation: 'sync' }],
  ] as const)(
    'at %s: nothing is acknowledged any more, the node says so, and what was acknowledged is there after a start',
    async (_name, where) => {
      const machine = new Machine();
      let acknowledged = 0;
      const rig = await machine.run(function* (given): Scenario {
        const session = (yield machine.open(given)) as TestSession;
        expect(yield session.write(1_300 * MIB, pattern(MIB, 1))).toBe(ok);
        yield delay(given, 20e9);
        machine.break({ ...where, error: EIO });
        yield session.zero(1_300 * MIB, MIB);
        for (let i = 0; i < 60 && given.fatal === ''; i++) {
          let answered = false;
          session.write(
            i * MIB,
            pattern(MIB, i),
          )(status => {
            expect([status, given.fatal]).toEqual([ok, '']);
            answered = true;
          });
          for (let turns = 0; turns < 1_000 && !answered && given.fatal === ''; turns++) yield delay(given, 1e6);
          if (answered) acknowledged = i + 1;
        }
        // Nothing more, however long.
        yield delay(given, 10e9);
      });
      expect(rig.fatal).toMatch(/error/);
      machine.disk.faults.clear();
      await machine.run(function* (again): Scenario {
        expect(again.node.problems).toEqual([]);
        const session = (yield machine.open(again)) as TestSession;
        yield* readAll(session, acknowledged);
        expect(again.corrupt).toEqual([]);
      });
    },
  );

  it('at a hole that the file system cannot make: zeroes are zeroes all the same', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield* fill(session, 0, 4)).toBe(4);
      yield delay(rig, 20e9);
      machine.break({ path: '/node/extents', operation: 'allocate', error: 95, times: Infinity });
      expect(yield session.zero(MIB, MIB, IoOp.trim)).toBe(ok);
      yield delay(rig, 20e9);
      expect(rig.fatal).toBe('');
      expect(rig.node.served.get(VDISK)!.controller.index.isEmpty).toBe(true);
      expectBytes(yield session.read(MIB, MIB), new Uint8Array(MIB));
    });
  });
});

describe('a log that cannot be read', () => {
  /** Makes a payload of the log rot, of a block that is not in the cache. */
  function rot(machine: Machine, rig: Rig, block: number): void {
    const { controller } = rig.node.served.get(VDISK)!;
    rig.node.options.ports.cache.dropOwner(controller.cacheOwner);
    controller.index.find(block);
    const { lsn, seq } = controller.index.found;
    expect(seq).toBeGreaterThan(0);
    // The log is one segment still: position 4096 lies behind the file's first page.
    machine.disk.file('/node/oplog/stream-0/00000001.seg').flip(lsn, 3);
  }

  it('because a block rots: that block is lost, and nothing else; the log does not wait for it', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      for (let i = 0; i < 8; i++) expect(yield session.write(i * 4096, pattern(4096, i))).toBe(ok);
      rot(machine, rig, 3);
      yield delay(rig, 20e9);
      expect(rig.corrupt).toEqual([3 * 4096]);
      expect(rig.node.served.get(VDISK)!.controller.index.isEmpty).toBe(true);
      expect(yield session.read(3 * 4096, 4096)).toBe(IoStatus.corrupt);
      expectBytes(yield session.read(4 * 4096, 4096), pattern(4096, 4));
      // More than the log holds: its old part is free.
      expect(yield* fill(session, 1, 60)).toBe(60);
    });
    await machine.run(function* (rig): Scenario {
      expect(rig.node.problems).toEqual([]);
      const session = (yield machine.open(rig)) as TestSession;
      expectBytes(yield session.read(0, 3 * 4096), new Uint8Array(Buffer.concat([0, 1, 2].map(i => pattern(4096, i)))));
      expect(yield session.read(3 * 4096, 4096)).toBe(IoStatus.corrupt);
      expect(yield session.write(3 * 4096, pattern(4096, 9))).toBe(ok);
      expectBytes(yield session.read(3 * 4096, 4096), pattern(4096, 9));
    });
  });

  it('for a while, because the disk gives errors: its vdisk is drained when it can be read again', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      for (let i = 0; i < 8; i++) expect(yield session.write(i * 4096, pattern(4096, i))).toBe(ok);
      rig.node.options.ports.cache.dropOwner(rig.node.served.get(VDISK)!.controller.cacheOwner);
      machine.break({ path: '/node/oplog', operation: 'read', error: EIO, times: Infinity });
      yield delay(rig, 20e9);
      expect(rig.node.served.get(VDISK)!.controller.index.isEmpty).toBe(false);
      expect(rig.fatal).toBe('');
      expect(rig.corrupt).toEqual([]);
      expect(rig.unreadable.length).toBeGreaterThan(0);
      machine.disk.faults.clear();
      yield delay(rig, 20e9);
      expect(rig.node.served.get(VDISK)!.controller.index.isEmpty).toBe(true);
      for (let i = 0; i < 8; i++) expectBytes(yield session.read(i * 4096, 4096), pattern(4096, i));
    });
  });
});

describe('memory that changes by itself', () => {
  it('does not get to the extents: the log has the content', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield session.write(0, pattern(8192, 1))).toBe(ok);
      const { controller } = rig.node.served.get(VDISK)!;
      const { cache } = rig.node.options.ports;
      rig.arena.bytes[cache.find(controller.cacheOwner, 1) + 9]! ^= 1;
      yield delay(rig, 20e9);
      expect(controller.index.isEmpty).toBe(true);
      cache.dropOwner(controller.cacheOwner);
      expectBytes(yield session.read(0, 8192), pattern(8192, 1));
      expect(rig.corrupt).toEqual([]);
    });
  });
});

describe('a log that a refused vdisk holds', () => {
  it('answers ENOSPC when it is full, until the vdisk is deleted', async () => {
    const machine = new Machine();
    await machine.run(function* (rig): Scenario {
      const session = (yield machine.open(rig)) as TestSession;
      expect(yield session.write(0, pattern(4096, 1))).toBe(ok);
    });
    // The next start does not know it any more.
    await machine.run(
      function* (rig): Scenario {
        expect(rig.node.problems).toHaveLength(1);
        const session = (yield machine.open(rig, OTHER)) as TestSession;
        const written = yield* fill(session, 0, 100);
        expect(written).toBeLessThan(40);
        yield resume => rig.node.remove(VDISK, resume);
        yield delay(rig, 5e9);
        expect(yield* fill(session, written, 60)).toBe(60);
        yield* readAll(session, written + 60);
      },
      [OTHER],
    );
  });
});
