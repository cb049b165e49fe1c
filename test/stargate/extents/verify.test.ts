import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, BlockState } from '../../../src/stargate/core/ports.js';
import { ExtentStore } from '../../../src/stargate/extents/extent-store.js';
import { extentPath, formatPath } from '../../../src/stargate/extents/layout.js';
import { verifyExtents } from '../../../src/stargate/extents/verify.js';
import { readerOf, SimulatedStore, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { DiskRig } from '../../support/disk-rig.js';
import { Recorder } from '../store/contract.js';
import { Answers, SCRATCH } from './contract.js';
import { DrainDriver, type LogEntry } from './drain-driver.js';

const ROOT = '/extents';

describe('verifyExtents', () => {
  let rig: DiskRig;
  let disk: SimulatedStoreDisk;
  let extents: ExtentStore;
  let store: SimulatedStore['store'];

  const findings = (pending?: (layer: number, segment: number, block: number) => boolean) =>
    verifyExtents({
      files: rig.engine.files,
      arena: rig.engine.arena,
      scratchOffset: SCRATCH,
      root: ROOT,
      records: readerOf(disk),
      ...(pending === undefined ? {} : { pending }),
    }).map(({ severity, code, layer, segment, block }) => [severity, code, layer, segment, block]);

  beforeEach(() => {
    rig = new DiskRig(3);
    disk = new SimulatedStoreDisk();
    extents = new ExtentStore(rig.engine, ROOT, SCRATCH);
    store = new SimulatedStore(disk, rig.engine, { random: () => 0.5 }).store;
    const owner = new Recorder();
    store.createLayer('v', owner, 0);
    rig.until(() => owner.layers.length === 1);
    const entry = (seq: number, block: number, state: 1 | 2 = BlockState.data): LogEntry => ({ seq, segment: 2, block, state });
    const drain = new DrainDriver(
      rig.engine,
      extents,
      store,
      1,
      2,
      5,
      [entry(1, 0), entry(2, 63), entry(3, 64), entry(4, 65, BlockState.zero)],
      1 << 20,
    );
    drain.start();
    rig.until(() => drain.done);
    expect(drain.failed).toBeNull();
  });

  it('finds nothing wrong after a drain', () => {
    expect(findings()).toEqual([]);
  });

  it('finds data that the store knows nothing of: the store is an older one, unless the log is about to bring it', () => {
    const { files, arena } = rig.engine;
    const slot = files.open(extentPath(ROOT, 1, 2), { write: true });
    arena.bytes.fill(7, SCRATCH, SCRATCH + BLOCK_BYTES);
    for (const block of [5, 65, 200]) files.write(slot, SCRATCH, BLOCK_BYTES, block * BLOCK_BYTES);
    files.close(slot);
    expect(findings()).toEqual([
      ['error', 'extent-stray', 1, 2, 5],
      // What was trimmed where no holes can be punched.
      ['notice', 'extent-stray', 1, 2, 65],
      ['error', 'extent-stray', 1, 2, 200],
    ]);
    expect(findings((_layer, _segment, block) => block !== 5)).toEqual([['error', 'extent-stray', 1, 2, 5]]);
  });

  it('finds a block that rotted, and where; not one that the log is about to mend', () => {
    const { files } = rig.engine;
    const slot = files.open(extentPath(ROOT, 1, 2), { write: true });
    files.read(slot, SCRATCH, BLOCK_BYTES, 64 * BLOCK_BYTES);
    rig.engine.arena.bytes[SCRATCH + 4095]! ^= 1;
    files.write(slot, SCRATCH, BLOCK_BYTES, 64 * BLOCK_BYTES);
    expect(findings()).toEqual([['error', 'extent-checksum', 1, 2, 64]]);
    expect(findings((_layer, segment, block) => segment === 2 && block === 64)).toEqual([['notice', 'extent-checksum', 1, 2, 64]]);
    files.truncate(slot, 63 * BLOCK_BYTES);
    expect(findings()).toEqual([
      ['error', 'extent-checksum', 1, 2, 63],
      ['error', 'extent-checksum', 1, 2, 64],
    ]);
    files.close(slot);
  });

  it('finds files without a record and records without a file', () => {
    const { files } = rig.engine;
    files.close(files.open(extentPath(ROOT, 1, 7), { create: true, write: true }));
    files.makeDirectory(`${ROOT}/9`);
    files.close(files.open(extentPath(ROOT, 9, 0), { create: true, write: true }));
    files.close(files.open(`${ROOT}/1/readme`, { create: true, write: true }));
    files.close(files.open(`${ROOT}/core`, { create: true, write: true }));
    expect(findings()).toHaveLength(4);
    expect(findings()).toEqual(
      expect.arrayContaining([
        ['notice', 'extent-unrecorded', 1, 7, -1],
        ['notice', 'extent-unrecorded', 9, 0, -1],
        ['notice', 'extent-foreign', 1, -1, -1],
        ['notice', 'extent-foreign', -1, -1, -1],
      ]),
    );
    files.remove(extentPath(ROOT, 1, 2));
    expect(findings()).toContainEqual(['error', 'extent-missing', 1, 2, -1]);
    files.remove(formatPath(ROOT));
    expect(findings()).toContainEqual(['error', 'extent-format', -1, -1, -1]);
  });

  it('does not miss the files of a layer that is being removed', () => {
    const owner = new Recorder();
    store.removeLayer(1, owner, 0);
    rig.until(() => owner.committed.length === 1);
    const answers = new Answers();
    extents.removeLayer(1, answers, 0);
    rig.until(() => answers.got.length === 1);
    expect(findings()).toEqual([]);
  });
});
