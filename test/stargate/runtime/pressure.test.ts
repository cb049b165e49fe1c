import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { describeVdisk, pattern, Rig, temporaryDirectory, type Scenario, type TestSession } from './rig.js';

const MIB = 1 << 20;

describe('under pressure', () => {
  let directory: ReturnType<typeof temporaryDirectory>;
  beforeEach(() => {
    directory = temporaryDirectory();
  });
  afterEach(() => directory.remove());

  it('drains go on while clients hold all the memory that they can get', async () => {
    await new Rig('libuv', directory.path, new SimulatedStoreDisk(), [describeVdisk(1)]).run(function* (rig): Scenario {
      yield rig.serving;
      const { buffers } = rig.node.options.ports;
      const held: number[] = [];
      for (const bytes of [4096, 65_536, MIB]) for (let at = buffers.take(bytes); at >= 0; at = buffers.take(bytes)) held.push(at);
      const session = (yield rig.open()) as TestSession;
      // Single blocks and long runs, more than the log holds.
      for (let i = 0; i < 40; i++) {
        expect(yield session.write(i * 2 * MIB, pattern(MIB, i))).toBe(IoStatus.ok);
        expect(yield session.write((i * 2 + 1) * MIB + 8192, pattern(4096, i))).toBe(IoStatus.ok);
      }
      for (const offset of held) buffers.give(offset);
      expectBytes(yield session.read(78 * MIB, 65_536), pattern(MIB, 39).slice(0, 65_536));
    });
  });
});
