import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeRecord } from '../../../src/stargate/core/head.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { layerKey } from '../../../src/stargate/store/format.js';
import { SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { delay, describeVdisk, pattern, Rig, temporaryDirectory, VDISK, type Scenario, type Step, type TestSession } from './rig.js';

const OTHER = '7f3a1c22-0b1d-4c5e-8f60-112233445566';
const NEW = '11111111-0b1d-4c5e-8f60-112233445566';
const create =
  (rig: Rig, vdiskId: string, term = 1): Step =>
  resume =>
    rig.node.create(describeVdisk(term, 1 << 30, vdiskId), resume);
const remove =
  (rig: Rig, vdiskId: string): Step =>
  resume =>
    rig.node.remove(vdiskId, resume);
const problems = (rig: Rig) => rig.node.problems.map(({ message }) => message);

describe('vdisks of a node', () => {
  let directory: ReturnType<typeof temporaryDirectory>;
  let disk: SimulatedStoreDisk;
  beforeEach(() => {
    directory = temporaryDirectory();
    disk = new SimulatedStoreDisk();
  });
  afterEach(() => directory.remove());

  const start = (...vdisks: ReturnType<typeof describeVdisk>[]): Rig => new Rig('libuv', directory.path, disk, vdisks);
  const content = pattern(8192, 5);

  /** Writes `content` to the start of the vdisk; without a clean stop nothing is drained. */
  async function write(term: number, stop: boolean): Promise<void> {
    await start(describeVdisk(term)).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open(term)) as TestSession;
      expect(yield session.write(0, content)).toBe(IoStatus.ok);
      if (stop) yield rig.stop;
    });
  }

  async function refused(description: ReturnType<typeof describeVdisk>): Promise<string> {
    let problem = '';
    await start(description).run(function* (rig): Scenario {
      yield rig.serving;
      problem = problems(rig).join();
      expect(yield rig.open(9)).toBe('not-served');
    });
    return problem;
  }

  async function stillThere(term: number): Promise<void> {
    await start(describeVdisk(term)).run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig)).toEqual([]);
      const session = (yield rig.open(term)) as TestSession;
      expectBytes(yield session.read(0, content.length), content);
    });
  }

  it('are refused with a term that is not new: the metadata is older than the data', async () => {
    await write(5, false);
    expect(await refused(describeVdisk(5))).toMatch(/knows term 5, the metadata gives term 5/);
    expect(await refused(describeVdisk(4))).toMatch(/knows term 5, the metadata gives term 4/);
    await stillThere(6);
  });

  it('are refused with another history', async () => {
    await write(1, false);
    expect(await refused({ ...describeVdisk(2), historyId: 2 })).toMatch(/history 1, the metadata knows history 2/);
  });

  it('are refused without the log that belongs to their data', async () => {
    await write(1, true);
    rmSync(join(directory.path, 'oplog', 'stream-0'), { recursive: true });
    expect(await refused(describeVdisk(2))).toMatch(/its log has no head/);
  });

  it('that the metadata does not know are kept: it may be the wrong metadata', async () => {
    await write(1, false);
    await start().run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig)).toEqual([expect.stringMatching(/the metadata does not know it/)]);
      yield rig.stop;
    });
    await stillThere(2);
  });

  it('that were refused at the start are not served empty when they are asked for again', async () => {
    await write(1, false);
    await start().run(function* (rig): Scenario {
      yield rig.serving;
      expect(yield create(rig, VDISK, 2)).toMatch(/start the node again/);
      expect(yield rig.open(2)).toBe('not-served');
    });
    await stillThere(3);
  });

  it('that were deleted leave nothing: not a layer, and no entry that a start still wants', async () => {
    await write(1, true);
    await start(describeVdisk(2)).run(function* (rig): Scenario {
      yield rig.serving;
      yield remove(rig, VDISK);
      expect(rig.node.options.ports.store.layersOf(VDISK)).toEqual([]);
      yield rig.stop;
    });
    await start().run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig)).toEqual([]);
      expect([...rig.node.streams[0]!.log.vdisks()]).toEqual([]);
    });
  });

  it('that are refused can be deleted, and hold no space of the log from then on', async () => {
    await write(5, false);
    await start(describeVdisk(4)).run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig)).toHaveLength(1);
      yield remove(rig, VDISK);
      expect(problems(rig)).toEqual([]);
      expect(rig.node.streams[0]!.log.vdisk(VDISK)).toBeUndefined();
      expect(rig.node.options.ports.store.layersOf(VDISK)).toEqual([]);
    });
  });

  it('are deleted once, whoever asks how often, and also while they are being opened', async () => {
    await start().run(function* (rig): Scenario {
      yield rig.serving;
      let created: unknown = null;
      rig.node.create(describeVdisk(1), problem => (created = problem));
      let second = '';
      rig.node.create(describeVdisk(1), problem => (second = problem));
      expect(second).toMatch(/being opened/);
      let removed = 0;
      rig.node.remove(VDISK, () => removed++);
      expect(yield create(rig, VDISK)).toMatch(/being opened|being deleted/);
      yield remove(rig, VDISK);
      expect([created, removed]).toEqual(['', 1]);
      expect(rig.node.served.size).toBe(0);
      expect(rig.node.options.ports.store.layersOf(VDISK)).toEqual([]);
      expect(rig.fatal).toBe('');
    });
  });

  it('are deleted in the middle of everything: writes, reads that wait for memory, a drain', async () => {
    await start(describeVdisk(1)).run(function* (rig): Scenario {
      yield rig.serving;
      const { buffers } = rig.node.options.ports;
      const session = (yield rig.open()) as TestSession;
      for (let i = 0; i < 20; i++) expect(yield session.write(i << 20, pattern(1 << 20, i))).toBe(IoStatus.ok);
      const held: number[] = [];
      for (let offset = buffers.take(4096); offset >= 0; offset = buffers.take(4096)) held.push(offset);
      for (let i = 0; i < 50; i++) session.read(i << 16, 4096)(() => expect.unreachable());
      session.write(100, pattern(10, 1))(() => expect.unreachable());
      session.write(8192, content)(() => expect.unreachable());
      let removed = false;
      rig.node.remove(VDISK, () => (removed = true));
      yield delay(rig, 30e6);
      // The reads wait still, and the layer is not taken away from under them.
      expect(removed).toBe(false);
      for (const offset of held) buffers.give(offset);
      yield remove(rig, VDISK);
      yield create(rig, OTHER);
      const other = (yield rig.open(1, 'a', 0, OTHER)) as TestSession;
      expect(yield other.write(0, content)).toBe(IoStatus.ok);
      expect(rig.fatal).toBe('');
    });
  });

  it('are refused alone when a record in their log cannot be taken up', async () => {
    await start(describeVdisk(1), describeVdisk(1, 1 << 30, OTHER)).run(function* (rig): Scenario {
      yield rig.serving;
      const other = (yield rig.open(1, 'a', 0, OTHER)) as TestSession;
      expect(yield other.write(0, content)).toBe(IoStatus.ok);
      const { controller } = rig.node.served.get(VDISK)!;
      yield resume => void controller.appendControl(EntryKind.head, new Uint8Array([1, 2, 3]), 0, { onControlCommitted: resume });
    });
    await start(describeVdisk(2), describeVdisk(2, 1 << 30, OTHER)).run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig)).toEqual([expect.stringMatching(/cannot be taken up/)]);
      expect(yield rig.open(2)).toBe('not-served');
      const other = (yield rig.open(2, 'a', 0, OTHER)) as TestSession;
      expectBytes(yield other.read(0, content.length), content);
    });
  });

  it('are refused alone when the record of their layer is damaged, and keep their logs', async () => {
    await start(describeVdisk(1), describeVdisk(1, 1 << 30, OTHER)).run(function* (rig): Scenario {
      yield rig.serving;
      const session = (yield rig.open(1, 'a', 0, OTHER)) as TestSession;
      expect(yield session.write(0, content)).toBe(IoStatus.ok);
    });
    await write(2, false);
    const record = disk.records.get(layerKey(1).toString('hex'))!;
    record[12]! ^= 1;
    for (const known of [[VDISK, OTHER, NEW], [OTHER]]) {
      const term = 10 - known.length;
      await start(...known.map(vdiskId => describeVdisk(term, 1 << 30, vdiskId))).run(function* (rig): Scenario {
        yield rig.serving;
        const damaged = 'the record of its layer 1 in the block store is damaged: restore the data directory, or delete the vdisk';
        // Of the third one nothing is there: it may have been its layer.
        const lost = 'a record of the block store is damaged that may have been of its layer';
        const unknown = 'its data is here, but the metadata does not know it, or it is being deleted';
        expect(problems(rig)).toEqual(known.length > 1 ? [damaged, lost] : [unknown]);
        const session = (yield rig.open(term, 'a', 0, OTHER)) as TestSession;
        expectBytes(yield session.read(0, content.length), content);
      });
    }
    record[12]! ^= 1;
    await start(describeVdisk(10), describeVdisk(10, 1 << 30, OTHER)).run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig)).toEqual([]);
      const session = (yield rig.open(10)) as TestSession;
      expectBytes(yield session.read(0, content.length), content);
    });
  });

  it('are refused when the log does not follow what was drained', async () => {
    await start(describeVdisk(1)).run(function* (rig): Scenario {
      yield rig.serving;
      const { controller } = rig.node.served.get(VDISK)!;
      const head = encodeRecord({ ...controller.head(0, 0)!, drainedHash: 5 });
      yield resume => void controller.appendControl(EntryKind.head, head, 0, { onControlCommitted: resume });
    });
    expect(await refused(describeVdisk(2))).toMatch(/entry 1 of its log does not follow what was drained/);
  });

  it('are refused when the log has nothing of them and is damaged: it may have been there', async () => {
    await start(describeVdisk(1, 1 << 30, OTHER)).run(function* (rig): Scenario {
      yield rig.serving;
      const other = (yield rig.open(1, 'a', 0, OTHER)) as TestSession;
      for (let i = 0; i < 5; i++) expect(yield other.write(i * 8192, content)).toBe(IoStatus.ok);
    });
    const file = join(directory.path, 'oplog', 'stream-0', '00000001.seg');
    const bytes = readFileSync(file);
    bytes[4096 + 50]! ^= 1;
    writeFileSync(file, bytes);
    await start(describeVdisk(2), describeVdisk(2, 1 << 30, OTHER)).run(function* (rig): Scenario {
      yield rig.serving;
      expect(problems(rig).sort()).toEqual([
        expect.stringMatching(/entries 1 to \d+ of its log are missing/),
        expect.stringMatching(/damaged where its entries/),
      ]);
      // One that is made now has lost nothing.
      expect(yield create(rig, NEW)).toBe('');
    });
  });
});
