import { crc32c } from '@node-rs/crc32';
import type { FaultOperation } from 'uring-engine/faulty';
import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import { ExtentStore } from '../../../src/stargate/extents/extent-store.js';
import { encodeExtentFormat, checkExtentFormat, parseExtentName, parseLayerName } from '../../../src/stargate/extents/layout.js';
import { DiskRig } from '../../support/disk-rig.js';
import { Answers, BUFFER, extentContract, SCRATCH } from './contract.js';

extentContract('the simulated disk', async () => {
  const rig = new DiskRig(1);
  return {
    engine: rig.engine,
    root: '/data/extents',
    until: async done => rig.until(done),
    close: async () => undefined,
  };
});

describe('extents, when the disk fails', () => {
  function open(): { rig: DiskRig; extents: ExtentStore; call: (start: (answers: Answers) => void) => number } {
    const rig = new DiskRig(1);
    const extents = new ExtentStore(rig.engine, '/extents', SCRATCH);
    const call = (start: (answers: Answers) => void) => {
      const answers = new Answers();
      start(answers);
      rig.until(() => answers.got.length > 0);
      return answers.got[0]![1];
    };
    return { rig, extents, call };
  }

  /** The next operation of this kind is carried out, and reported as failed all the same: the worst case. */
  const broken = (rig: DiskRig, operation: FaultOperation, error: number): void =>
    rig.disk.faults.add({ operation, error, stage: 'after', path: '/extents/1' });

  it('never again says that something is durable after a failed write or sync (rule 6)', () => {
    for (const kind of ['write', 'sync'] as const) {
      const { rig, extents, call } = open();
      expect(call(answers => extents.write(1, 0, 0, 1, BUFFER, answers, 0))).toBe(BLOCK_BYTES);
      broken(rig, kind, 5);
      if (kind === 'write') expect(call(answers => extents.write(1, 0, 0, 1, BUFFER, answers, 0))).toBe(-5);
      else expect(call(answers => extents.sync(1, 0, answers, 0))).toBe(-5);
      expect(call(answers => extents.write(1, 0, 1, 1, BUFFER, answers, 0))).toBe(-5);
      expect(call(answers => extents.sync(1, 0, answers, 0))).toBe(-5);
      expect(call(answers => extents.punch(1, 0, 0, 1, answers, 0))).toBe(-5);
      expect(call(answers => extents.read(1, 0, 0, 1, BUFFER, answers, 0))).toBe(BLOCK_BYTES);
    }
  });

  it('goes on after a full disk and after a failed read', () => {
    const { rig, extents, call } = open();
    call(answers => extents.write(1, 0, 0, 1, BUFFER, answers, 0));
    broken(rig, 'write', 28);
    expect(call(answers => extents.write(1, 0, 0, 1, BUFFER, answers, 0))).toBe(-28);
    broken(rig, 'read', 5);
    expect(call(answers => extents.read(1, 0, 0, 1, BUFFER, answers, 0))).toBe(-5);
    expect(call(answers => extents.write(1, 0, 0, 1, BUFFER, answers, 0))).toBe(BLOCK_BYTES);
    expect(call(answers => extents.sync(1, 0, answers, 0))).toBe(0);
  });

  it('reports a failed directory sync as a failed sync, for good', () => {
    const { rig, extents, call } = open();
    call(answers => extents.write(1, 0, 0, 1, BUFFER, answers, 0));
    broken(rig, 'syncDirectory', 5);
    expect(call(answers => extents.sync(1, 0, answers, 0))).toBe(-5);
    expect(call(answers => extents.sync(1, 0, answers, 0))).toBe(-5);
  });
});

it('makes the names durable that a first start which was killed has left', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const rig = new DiskRig(seed);
    rig.givenDirectory('/data');
    rig.disk.faults.add({ operation: 'syncDirectory', error: 5, stage: 'before' });
    expect(() => new ExtentStore(rig.engine, '/data/extents', SCRATCH)).toThrow();
    rig.kill();
    const extents = new ExtentStore(rig.engine, '/data/extents', SCRATCH);
    const answers = new Answers();
    extents.write(1, 0, 0, 1, BUFFER, answers, 0);
    rig.until(() => answers.got.length === 1);
    extents.sync(1, 0, answers, 0);
    rig.until(() => answers.got.length === 2);
    rig.powerCut();
    expect(rig.engine.files.exists('/data/extents/1/0.ext')).toBe(true);
  }
});

describe('layout', () => {
  it('knows its own names and no others', () => {
    expect(['0.ext', '8388607.ext', '00.ext', '1.ext.bak', 'x.ext', '-1.ext', '123456789.ext'].map(parseExtentName)).toEqual([
      0, 8_388_607, -1, -1, -1, -1, -1,
    ]);
    expect(['1', '2147483647', '0', '01', 'format', '1x'].map(parseLayerName)).toEqual([1, 2_147_483_647, -1, -1, -1, -1]);
  });

  it('tells a newer version from damage', () => {
    const format = encodeExtentFormat();
    expect(() => checkExtentFormat(format, '/r')).not.toThrow();
    format.writeUInt32LE(9, 8);
    expect(() => checkExtentFormat(format, '/r')).toThrow(/damaged/);
    format.writeUInt32LE(crc32c(format.subarray(0, 12)), 12);
    expect(() => checkExtentFormat(format, '/r')).toThrow(/version 9, this program reads 1/);
  });
});
