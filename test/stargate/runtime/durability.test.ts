import { FaultyDisk, FaultyEngine, VirtualClock } from 'uring-engine/faulty';
import { describe, expect, it } from 'vitest';
import { SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { delay, describeVdisk, pattern, Rig, type Scenario, type TestSession } from './rig.js';

const BLOCK = 4096;
const { ok, lost } = IoStatus;
/** Long enough for the drain of what was written last, and the HEAD behind it. */
const REST_NS = 12e9;

/** A node with one vdisk of `durability: flush`, in virtual time. A life ends without a word unless the scenario stops it. */
class Machine {
  readonly clock = new VirtualClock(1);
  readonly disk = new FaultyDisk({ random: this.clock.random });
  readonly storeDisk = new SimulatedStoreDisk();
  #term = 0;

  async run(scenario: (rig: Rig, session: TestSession) => Scenario): Promise<void> {
    const description = { ...describeVdisk(++this.#term), durability: 'flush' } as const;
    const rig = new Rig(arena => new FaultyEngine(arena, this.clock, this.disk), '/node', this.storeDisk, [description]);
    await rig.run(function* (given): Scenario {
      yield given.serving;
      const session = (yield given.open()) as TestSession;
      yield* scenario(given, session);
    });
    this.disk.killAll();
  }

  /** How the next FLUSH ends, twice. Numbers of requests go on where the last life has left them. */
  async flushes(): Promise<unknown[]> {
    const ends: unknown[] = [];
    const firstSeq = 100 * (this.#term + 1);
    await this.run(function* (_rig, session): Scenario {
      session.clientSeq = firstSeq;
      ends.push(yield session.zero(0, 0, IoOp.flush));
      ends.push(yield session.zero(0, 0, IoOp.flush));
    });
    return ends;
  }
}

describe('with durability "flush", the end of the process', () => {
  it('costs what was in memory alone, and the next flush fails once; what was flushed is there', async () => {
    const machine = new Machine();
    await machine.run(function* (_rig, session): Scenario {
      expect(yield session.write(0, pattern(BLOCK, 1))).toBe(ok);
      expect(yield session.write(BLOCK, pattern(BLOCK, 2))).toBe(ok);
      expect(yield session.zero(0, 0, IoOp.flush)).toBe(ok);
      expect(yield session.write(0, pattern(BLOCK, 3))).toBe(ok);
    });
    await machine.run(function* (_rig, session): Scenario {
      session.clientSeq = 50;
      expectBytes(yield session.read(0, BLOCK), pattern(BLOCK, 1));
      expectBytes(yield session.read(BLOCK, BLOCK), pattern(BLOCK, 2));
    });
    expect(await machine.flushes()).toEqual([lost, ok]);
  });

  it('is told also after a clean stop between, and after another end of a process that only started', async () => {
    const machine = new Machine();
    await machine.run(function* (_rig, session): Scenario {
      yield session.write(0, pattern(BLOCK, 1));
      yield session.write(0, pattern(BLOCK, 2));
    });
    await machine.run(function* (rig): Scenario {
      yield rig.stop;
    });
    await machine.run(function* (): Scenario {
      // Ends as soon as it serves.
    });
    expect(await machine.flushes()).toEqual([lost, ok]);
  });

  it('costs nothing, and is not told, after a clean stop', async () => {
    const machine = new Machine();
    await machine.run(function* (rig, session): Scenario {
      yield session.write(0, pattern(BLOCK, 1));
      expect(yield session.write(0, pattern(BLOCK, 2))).toBe(ok);
      yield rig.stop;
    });
    expect(await machine.flushes()).toEqual([ok, ok]);
  });

  it('costs nothing, and is not told, some seconds after the last write', async () => {
    const machine = new Machine();
    await machine.run(function* (rig, session): Scenario {
      yield session.write(0, pattern(BLOCK, 1));
      expect(yield session.write(0, pattern(BLOCK, 2))).toBe(ok);
      yield delay(rig, REST_NS);
    });
    expect(await machine.flushes()).toEqual([ok, ok]);
    await machine.run(function* (rig, session): Scenario {
      session.clientSeq = 500;
      expectBytes(yield session.read(0, BLOCK), pattern(BLOCK, 2));
      yield delay(rig, REST_NS);
    });
  });
});
