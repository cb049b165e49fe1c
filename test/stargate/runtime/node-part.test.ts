import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { delay, describeVdisk, pattern, Rig, temporaryDirectory, VDISK, type Scenario, type TestSession } from './rig.js';

describe.each(['io_uring', 'libuv'] as const)('one node over %s', kind => {
  let directory: ReturnType<typeof temporaryDirectory>;
  let disk: SimulatedStoreDisk;
  beforeEach(() => {
    directory = temporaryDirectory();
    disk = new SimulatedStoreDisk();
  });
  afterEach(() => directory.remove());

  const start = (term: number): Rig => new Rig(kind, directory.path, disk, [describeVdisk(term)]);

  it('reads what was written, zeroes where nothing was, and both after a clean restart', async () => {
    const first = pattern(12288, 1);
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(8192, first)).toBe(IoStatus.ok);
      expect(yield session.read(8192, 12288)).toEqual(first);
      expect(yield session.read(4096, 4096)).toEqual(new Uint8Array(4096));
      expect(yield session.read(9000, 5000)).toEqual(first.slice(808, 5808));
      yield rig.stop;
    });
    await start(2).run(function* (rig): Scenario {
      yield rig.serving;
      expect(rig.node.streams[0]!.report.clean).toBe(true);
      const session = (yield rig.open(2)) as TestSession;
      expect(yield session.read(4096, 20480)).toEqual(new Uint8Array([...new Uint8Array(4096), ...first, ...new Uint8Array(4096)]));
    });
  });

  it('keeps what was acknowledged when it ends without a word', async () => {
    const content = pattern(4096, 7);
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(0, content)).toBe(IoStatus.ok);
      expect(yield session.zero(1 << 20, 1 << 20)).toBe(IoStatus.ok);
    });
    await start(2).run(function* (rig): Scenario {
      yield rig.serving;
      expect(rig.node.streams[0]!.report.clean).toBe(false);
      const session = (yield rig.open()) as TestSession;
      expect(yield session.read(0, 4096)).toEqual(content);
    });
  });

  it('reads its logs before it has terms, and writes and serves nothing until then', async () => {
    const content = pattern(4096, 7);
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(0, content)).toBe(IoStatus.ok);
    });
    const asked = new Rig(kind, directory.path, disk, null);
    expect(asked.node.damaged()).toEqual([]);
    await asked.run(function* (rig): Scenario {
      const { log, report } = rig.node.streams[0]!;
      expect(report.entries).toBeGreaterThan(3);
      expect(yield rig.open()).toBe('not-served');
      yield delay(rig, 20e6);
      expect(log.statistics().entries).toBe(0);
      rig.node.serve([describeVdisk(2)]);
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.read(0, 4096)).toEqual(content);
    });
  });

  it('opens what is asked for while it starts with what its log has, and not as if that were empty', async () => {
    const content = pattern(4096, 7);
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(0, content)).toBe(IoStatus.ok);
    });
    await new Rig(kind, directory.path, disk, null).run(function* (rig): Scenario {
      expect(yield resume => rig.node.create(describeVdisk(2), resume)).toBe('this Stargate is starting');
      rig.node.serve([describeVdisk(2)]);
      yield rig.serving;
      expect(yield resume => rig.node.create(describeVdisk(2), resume)).toBe('');
      const session = (yield rig.open()) as TestSession;
      expect(yield session.read(0, 4096)).toEqual(content);
    });
  });

  it('refuses what it is told to refuse, and keeps its log', async () => {
    const content = pattern(4096, 7);
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(0, content)).toBe(IoStatus.ok);
    });
    await new Rig(kind, directory.path, disk, null).run(function* (rig): Scenario {
      rig.node.serve([], [{ vdiskId: VDISK, message: 'another one has it' }]);
      yield rig.serving;
      expect(rig.node.problems).toEqual([{ vdiskId: VDISK, message: 'another one has it' }]);
      expect(yield rig.open()).toBe('not-served');
      yield rig.stop;
    });
    await start(2).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.read(0, 4096)).toEqual(content);
    });
  });

  it('merges changes that cover blocks partly', async () => {
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      const expected = pattern(16384, 3);
      expect(yield session.write(0, expected)).toBe(IoStatus.ok);
      const over = pattern(9000, 4);
      expect(yield session.write(1234, over)).toBe(IoStatus.ok);
      expected.set(over, 1234);
      expect(yield session.zero(100, 50)).toBe(IoStatus.ok);
      expected.fill(0, 100, 150);
      expect(yield session.zero(4000, 8200)).toBe(IoStatus.ok);
      expected.fill(0, 4000, 12200);
      expect(yield session.zero(12300, 100, IoOp.trim)).toBe(IoStatus.ok);
      expect(yield session.read(0, 16384)).toEqual(expected);
    });
  });

  it('goes on when the log is full: drains, and reads from the extents', async () => {
    const blocks = 40;
    const size = 1 << 20;
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      for (let i = 0; i < blocks; i++) expect(yield session.write(i * size, pattern(size, i))).toBe(IoStatus.ok);
      for (let i = 0; i < blocks; i++) expectBytes(yield session.read(i * size, size), pattern(size, i));
      expect(rig.node.streams[0]!.log.usage.usedBytes).toBeLessThanOrEqual(32 << 20);
      expect(yield session.zero(0, 4 * size, IoOp.trim)).toBe(IoStatus.ok);
      expect(yield session.map(0, 8 * size)).toEqual([4 * size, 3, 4 * size, 0]);
      yield rig.stop;
    });
    await start(2).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open(2)) as TestSession;
      expectBytes(yield session.read(0, size), new Uint8Array(size));
      expectBytes(
        yield session.read(5 * size + 512, size),
        new Uint8Array([...pattern(size, 5).slice(512), ...pattern(size, 6).slice(0, 512)]),
      );
      expect(yield session.map(0, 8 * size)).toEqual([4 * size, 3, 4 * size, 0]);
    });
  });

  it('applies a replayed change once, over a restart and a HEAD', async () => {
    const old = pattern(4096, 1);
    const young = pattern(4096, 2);
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(0, old, 1)).toBe(IoStatus.ok);
      expect(yield session.write(0, young, 2)).toBe(IoStatus.ok);
      yield delay(rig, 6e9 / 1000);
      expect(yield session.write(0, old, 1)).toBe(IoStatus.ok);
      expect(yield session.read(0, 4096)).toEqual(young);
      yield rig.stop;
    });
    await start(2).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.write(0, old, 1)).toBe(IoStatus.ok);
      expect(yield session.read(0, 4096)).toEqual(young);
    });
  });

  it('ends the sessions of older attachments and of other datapaths', async () => {
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const first = (yield rig.open(1, 'a', 0)) as TestSession;
      const beside = (yield rig.open(1, 'a', 1)) as TestSession;
      expect(yield first.write(0, pattern(4096, 1))).toBe(IoStatus.ok);
      expect(yield beside.write(4096, pattern(4096, 2))).toBe(IoStatus.ok);
      const other = (yield rig.open(1, 'b', 0)) as TestSession;
      expect(yield rig.open(1, 'a', 0)).toBe('closed');
      expect(yield other.write(0, pattern(4096, 3))).toBe(IoStatus.ok);
      yield rig.open(2, 'c', 0);
      expect(yield rig.open(1, 'b', 0)).toBe('closed');
    });
  });

  it('refuses what is outside the vdisk', async () => {
    await start(1).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open()) as TestSession;
      expect(yield session.read(1 << 30, 4096)).toBe(IoStatus.invalid);
      expect(yield session.write((1 << 30) - 100, pattern(200, 1))).toBe(IoStatus.noSpace);
    });
  });
});
