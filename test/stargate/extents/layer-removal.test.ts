import { describe, expect, it } from 'vitest';
import { BlockState } from '../../../src/stargate/core/ports.js';
import { ExtentStore } from '../../../src/stargate/extents/extent-store.js';
import { LayerRemoval } from '../../../src/stargate/extents/layer-removal.js';
import { extentPath } from '../../../src/stargate/extents/layout.js';
import { verifyExtents } from '../../../src/stargate/extents/verify.js';
import { readerOf, SimulatedStore, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { verifyStore } from '../../../src/stargate/store/verify.js';
import { DiskRig } from '../../support/disk-rig.js';
import { Recorder } from '../store/contract.js';
import { seededRandom } from 'uring-engine/faulty';
import { Delays } from '../../../src/stargate/runtime/delays.js';
import { SCRATCH } from './contract.js';
import { DrainDriver } from './drain-driver.js';

const ROOT = '/extents';

describe('LayerRemoval', () => {
  it('ends with nothing left, wherever power cuts interrupt it', () => {
    const left: Record<string, number> = { marked: 0, unmarked: 0, gone: 0 };
    let partly = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const random = seededRandom(seed);
      const rig = new DiskRig(seed);
      const disk = new SimulatedStoreDisk();
      const open = () => {
        const extents = new ExtentStore(rig.engine, ROOT, SCRATCH);
        const simulated = new SimulatedStore(disk, rig.engine, { random });
        const failures: string[] = [];
        const delays = new Delays(rig.engine);
        const removal = new LayerRemoval(
          simulated.store,
          extents,
          message => failures.push(message),
          call => delays.after(1e6, call),
        );
        return { extents, simulated, store: simulated.store, removal, failures };
      };
      const first = open();
      const owner = new Recorder();
      first.store.createLayer('v', owner, 0);
      first.store.createLayer('v', owner, 0);
      rig.until(() => owner.layers.length === 2);
      const [doomed, kept] = owner.layers as [number, number];
      for (const layer of owner.layers) {
        for (const segment of [0, 1, 2]) {
          const drain = new DrainDriver(
            rig.engine,
            first.extents,
            first.store,
            layer,
            segment,
            3,
            [{ seq: 2, segment, block: 5, state: BlockState.data }],
            1 << 20,
          );
          drain.start();
          rig.until(() => drain.done);
        }
      }
      first.removal.remove(doomed);
      rig.steps(Math.floor(random() * 14));
      first.simulated.crash();
      rig.powerCut();

      const second = open();
      const marked = second.store.deletingLayers();
      const known = second.store.layersOf('v');
      left[marked.length === 1 ? 'marked' : known.length === 2 ? 'unmarked' : 'gone']!++;
      let done = false;
      if (known.length === 2) second.removal.remove(doomed, () => (done = true));
      second.removal.resume(marked);
      rig.until(() => {
        // A block in each. Until it has looked which are there, all of them are to be deleted.
        const files = [0, 1, 2].filter(segment => rig.engine.files.exists(extentPath(ROOT, doomed, segment))).length;
        const { bytesLeft } = second.removal;
        expect([files * 4096, 3 * 4096, 0]).toContain(bytesLeft);
        if (bytesLeft > 0 && bytesLeft < 3 * 4096) partly++;
        return done || (known.length === 1 && second.store.deletingLayers().length === 0);
      });
      expect(second.removal.bytesLeft).toBe(0);
      expect(second.failures).toEqual([]);
      expect(second.store.layersOf('v')).toEqual([kept]);
      for (const segment of [0, 1, 2]) {
        expect(rig.engine.files.exists(extentPath(ROOT, doomed, segment))).toBe(false);
        expect(rig.engine.files.exists(extentPath(ROOT, kept, segment))).toBe(true);
      }
      const records = readerOf(disk);
      expect(verifyStore(records)).toEqual([]);
      expect(verifyExtents({ files: rig.engine.files, arena: rig.engine.arena, scratchOffset: SCRATCH, root: ROOT, records })).toEqual([]);
    }
    expect(partly).toBeGreaterThan(20);
    expect(left['marked']).toBeGreaterThan(5);
    expect(left['unmarked']).toBeGreaterThan(2);
    expect(left['gone']).toBeGreaterThan(2);
  });
});
