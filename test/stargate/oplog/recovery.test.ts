import { describe, expect, it } from 'vitest';
import { errno } from 'uring-engine';
import {
  OplogError,
  VERIFY_OPLOG_SCRATCH_BYTES,
  verifyOplog,
  type OplogFinding,
  type OplogMutations,
} from '../../../src/stargate/oplog/index.js';
import { SegmentAt } from '../../../src/stargate/oplog/layout.js';
import { DIRECTORY, Lost, LogWorld, type ModelEntry } from './log-world.js';

const OPTIONS = { segmentBytes: 256 << 10, segments: 6 };
const SECTOR = 512;

function world(seed: number, vdisks = 2): LogWorld {
  const made = new LogWorld(seed, vdisks, OPTIONS);
  made.start();
  return made;
}

/** Where an entry's payload lies while the log is in its first segment. */
const placeOf = (entry: ModelEntry) => entry.lsn;
/** Changes what is on the disk. */
function damage(of: LogWorld, name: string, at: number, length = SECTOR): void {
  for (let i = at; i < at + length; i++) of.file(name).flip(i, 0xff);
}

/** Appends one entry for each vdisk named, each in a batch of its own, and waits. */
function appendEach(of: LogWorld, order: readonly number[], bytes = 4096): void {
  for (const i of order) {
    expect(of.append(of.vdisks[i]!, bytes)).toBe(true);
    of.settle();
  }
}

function restart(of: LogWorld): void {
  of.rig.kill();
  of.start();
}

function startsWith(of: LogWorld, what: RegExp): void {
  expect(() => of.start()).toThrow(Lost);
  expect(() => of.start()).toThrow(what);
}

function verify(of: LogWorld): OplogFinding[] {
  // Over the world's files, through memory of its own.
  const { arena, files } = of.rig.engine;
  const scratch = arena.bytes.slice(0, VERIFY_OPLOG_SCRATCH_BYTES);
  const findings = verifyOplog({ files, arena, scratchOffset: 0, directory: DIRECTORY });
  arena.bytes.set(scratch, 0);
  return findings;
}

describe('a sync that fails', () => {
  /** The last batch is on its way when the process dies; the next one cannot sync what it reads; one more can; the power goes. */
  function play(seed: number, mutations: OplogMutations): LogWorld {
    const one = new LogWorld(seed, 2, { ...OPTIONS, mutations });
    one.start();
    appendEach(one, [0, 1, 0]);
    one.append(one.vdisks[1]!, 4096);
    one.rig.steps(1 + (seed % 4));
    one.rig.kill();
    one.rig.disk.faults.add({ operation: 'sync', path: /\.seg$/, error: errno.EIO });
    expect(() => one.start()).toThrow(/EIO|sync/);
    one.rig.disk.faults.clear();
    restart(one);
    one.rig.powerCut();
    one.start();
    return one;
  }

  it('costs nothing that could be read since: it is written again', () => {
    const counts = new Set<number>();
    for (let seed = 1; seed <= 100; seed++) counts.add(play(seed, {}).report.entries);
    expect([...counts].sort()).toEqual([3, 4]);
  });

  it('makes rot of what was taken for durable, where that is not done', () => {
    const told = new Set<string>();
    for (let seed = 1; seed <= 100; seed++) {
      try {
        play(seed, { trustsReads: true });
      } catch (error) {
        told.add((error as Error).constructor.name);
      }
    }
    expect([...told]).toEqual(['Lost']);
  });
});

describe('torn batches', () => {
  it('are cut at whichever sector they end', () => {
    // One batch of 1 + 3 pages: every sector of it in turn is the first that did not get to the disk.
    for (let sector = 0; sector < 32; sector++) {
      const one = world(1);
      appendEach(one, [0, 1]);
      const end = one.stream.usage.durableLsn;
      for (let i = 0; i < 3; i++) one.append(one.vdisks[i % 2]!, 4096);
      one.settle();
      const last = [one.vdisks[0]!.entries.at(-1)!, one.vdisks[1]!.entries.at(-1)!];
      one.rig.kill();
      // The file as a power cut in that write would leave it. Nobody was told yet.
      one.file('00000001.seg').writeDurable(new Uint8Array(16384 - sector * SECTOR), end + sector * SECTOR);
      for (const vdisk of one.vdisks) vdisk.ackedSeq = 1;
      one.start();
      expect(one.report).toMatchObject({ clean: false, entries: 2, cutLsn: end, rot: [] });
      expect(one.report.tornBytes > 0).toBe(sector > 0);
      expect(last.every(entry => entry.seq > 1)).toBe(true);
      // And on from there, again and again.
      appendEach(one, [0, 1, 0]);
      restart(one);
      expect(one.report).toMatchObject({ entries: 5, rot: [] });
    }
  });

  it('are no rot because of an intact one behind them, and that one never comes back', () => {
    const one = world(2);
    appendEach(one, [0, 1]);
    const end = one.stream.usage.durableLsn;
    // Two batches in flight at once.
    one.append(one.vdisks[0]!, 4096);
    one.rig.steps(1);
    for (let i = 0; i < 8; i++) one.append(one.vdisks[1]!, 4096);
    one.settle();
    expect(one.stream.statistics().batches).toBeGreaterThanOrEqual(4);
    one.rig.kill();
    damage(one, '00000001.seg', end + 4096);
    one.vdisks[0]!.ackedSeq = 1;
    one.vdisks[1]!.ackedSeq = 1;
    one.start();
    expect(one.report).toMatchObject({ cutLsn: end, rot: [], rotRanges: 0, broken: [] });
    expect(one.report.tornBytes).toBeGreaterThan(8192);
    for (let round = 0; round < 3; round++) {
      // The same entry again, of the same length.
      appendEach(one, [0]);
      restart(one);
      expect(one.vdisks[1]!.ackedSeq).toBe(1);
      expect(one.report).toMatchObject({ entries: 3 + round, rot: [] });
    }
  });
});

describe('rot', () => {
  it('of a payload is reported with its entry, and only its vdisk is refused', () => {
    const one = world(3);
    appendEach(one, [0, 1, 0, 1, 0]);
    const victim = one.vdisks[0]!.entries[1]!;
    one.rig.kill();
    damage(one, '00000001.seg', placeOf(victim) + 512);
    startsWith(one, /rot was reported/);
    expect(one.report.rot).toMatchObject([
      { fromLsn: victim.lsn, toLsn: victim.lsn + 4096, segment: '00000001.seg', vdisks: [one.vdisks[0]!.id] },
    ]);
    expect(one.report.broken.map(log => [log.vdiskId, log.lastSeq, log.broken!.cause])).toEqual([[one.vdisks[0]!.id, 1, 'rot']]);
    expect(one.stream.vdisk(one.vdisks[1]!.id)).toMatchObject({ lastSeq: 2, broken: null });
    expect(verify(one)).toContainEqual(
      expect.objectContaining({ severity: 'error', code: 'oplog-rot', fromLsn: victim.lsn, segment: '00000001.seg' }),
    );
  });

  it('of a header is reported with the range; a vdisk that goes on intact behind it is not concerned', () => {
    const one = world(4, 3);
    appendEach(one, [0, 1, 2, 0, 1, 2, 1]);
    const victim = one.vdisks[0]!.entries[1]!;
    one.rig.kill();
    damage(one, '00000001.seg', placeOf(victim) - 4096);
    startsWith(one, /rot was reported/);
    expect(one.report.rot).toMatchObject([{ fromLsn: victim.lsn - 4096, toLsn: victim.lsn + 4096, vdisks: [one.vdisks[0]!.id] }]);
    expect(one.stream.vdisk(one.vdisks[1]!.id)).toMatchObject({ lastSeq: 3, broken: null });
    expect(one.stream.vdisk(one.vdisks[2]!.id)).toMatchObject({ lastSeq: 2, broken: null });
  });

  it('of the last entry is found when the log was idle before the crash, and is taken for torn when it was not', () => {
    for (const idle of [true, false]) {
      const one = world(5);
      appendEach(one, [0, 1]);
      if (idle) one.rig.settle();
      const last = one.vdisks[1]!.entries.at(-1)!;
      one.rig.kill();
      damage(one, '00000001.seg', placeOf(last));
      if (idle) startsWith(one, /rot was reported/);
      else expect(() => one.start()).toThrow(/1 was acknowledged, 0 was found/);
      expect(one.report.rotRanges).toBe(idle ? 1 : 0);
    }
  });

  it('in an older segment is rot wherever it lies; a missing segment too', () => {
    for (const missing of [false, true]) {
      const one = world(6);
      for (let i = 0; one.stream.statistics().liveSegments < 4; i++) appendEach(one, [i % 2], 16384);
      one.rig.kill();
      if (missing) one.rig.engine.files.remove(`${DIRECTORY}/00000002.seg`);
      else damage(one, '00000002.seg', (1 + 5 * 7) * 4096, 4096);
      startsWith(one, /rot was reported/);
      expect(one.report.rotRanges).toBe(1);
      expect(one.report.rot[0]!.segment).toBe(missing ? '' : '00000002.seg');
      expect(one.report.broken.length).toBeGreaterThan(0);
    }
  });

  it('of a segment header: everybody may have lost something', () => {
    const one = world(7);
    appendEach(one, [0, 1, 0]);
    one.rig.kill();
    damage(one, '00000001.seg', SegmentAt.startLsn, 1);
    startsWith(one, /damaged header/);
    expect(one.report.rot).toMatchObject([{ toLsn: Infinity }]);
  });
});

describe('segments used again', () => {
  it('give nothing of their earlier use', () => {
    const one = world(8);
    // Batches of one length: those of the earlier use lie exactly where the next ones would.
    for (let i = 0; i < 400; i++) {
      appendEach(one, [0], 16384);
      if (i % 5 === 4) one.truncate(one.vdisks[0]!, one.vdisks[0]!.ackedSeq);
      if (i % 37 === 0) restart(one);
    }
    expect(one.stream.usage.endLsn).toBeGreaterThan(3 * OPTIONS.segmentBytes * OPTIONS.segments);
    restart(one);
    expect(one.report).toMatchObject({ rot: [], tornBytes: 0 });
  });
});

describe('the directory', () => {
  it('is refused when it is of a newer version, or not ours; what to do is said', () => {
    const one = world(9);
    one.rig.kill();
    one.file('00000001.seg').writeDurable(Uint8Array.of(2), SegmentAt.version);
    expect(() => one.start()).toThrow(
      expect.objectContaining({ code: 'ERR_OPLOG_VERSION', message: expect.stringMatching(/start that version/) }),
    );
    const two = new LogWorld(10, 1, OPTIONS);
    two.start();
    two.rig.kill();
    for (const [, file] of two.rig.disk.walk()) file.writeDurable(new Uint8Array(4096).fill(7), 0);
    expect(() => two.start()).toThrow(OplogError);
    expect(() => two.start()).toThrow(expect.objectContaining({ code: 'ERR_OPLOG_FOREIGN' }));
  });

  it('in order gives the verifier nothing to complain about', () => {
    const one = world(11);
    appendEach(one, [0, 1, 0]);
    one.rig.settle();
    expect(verify(one)).toMatchObject([{ severity: 'notice', code: 'oplog-unclean' }]);
    one.close();
    expect(verify(one)).toEqual([]);
  });
});
