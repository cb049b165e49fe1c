import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, BlockState } from '../../../src/stargate/core/ports.js';
import { ExtentStore } from '../../../src/stargate/extents/extent-store.js';
import { ExtentError } from '../../../src/stargate/extents/layout.js';
import { verifyExtents } from '../../../src/stargate/extents/verify.js';
import { readerOf, SimulatedStore, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { verifyStore } from '../../../src/stargate/store/verify.js';
import { lookup, Recorder } from '../store/contract.js';
import { seededRandom } from 'uring-engine/faulty';
import { DiskRig, withoutDirectorySync } from '../../support/disk-rig.js';
import { contentOf, crcOf, DrainDriver, type DrainMutant, type LogEntry } from './drain-driver.js';

/**
 * Drains over the faulty disk, with power cuts at any moment. The log is modelled: it keeps every entry, so that what a segment's
 * drainSeq does not cover is as good as there. What it does cover has to be in the extents, whole, with the right checksum.
 */
const ROOT = '/extents';
const SEGMENTS = [0, 3];
/** Neighbours, chunk borders, and far from all others. */
const BLOCKS = [0, 1, 2, 63, 64, 65, 130];
const BUFFER_OFFSET = 1 << 20;
const SCRATCH_OFFSET = 0;
const ROUNDS = 6;

type Mutant = DrainMutant | 'no-directory-sync';

interface Statistics {
  drains: number;
  cuts: number;
  cutsInDrain: number;
  redrainedOverMixture: number;
}

class Scenario {
  readonly random: () => number;
  readonly rig: DiskRig;
  readonly storeDisk = new SimulatedStoreDisk();
  readonly log: LogEntry[] = [];
  layer = 0;
  seq = 0;

  constructor(
    seed: number,
    readonly mutant: Mutant,
    readonly statistics: Statistics,
  ) {
    this.random = seededRandom(seed);
    this.rig = new DiskRig(seed * 7 + 1, mutant === 'no-directory-sync' ? { bug: withoutDirectorySync } : {});
  }

  /** Null, or what was lost. */
  run(): string | null {
    for (let round = 0; round < ROUNDS; round++) {
      let lost: string | null;
      try {
        lost = this.#life();
      } catch (error) {
        // A directory that is not recognised any more.
        if (!(error instanceof ExtentError)) throw error;
        lost = error.message;
      }
      if (lost !== null) return `round ${round}: ${lost}`;
    }
    return null;
  }

  /** From a start to a power cut. */
  #life(): string | null {
    const { engine } = this.rig;
    const extents = new ExtentStore(engine, ROOT, SCRATCH_OFFSET, { openFiles: 1 + Math.floor(this.random() * 2) });
    const simulated = new SimulatedStore(this.storeDisk, engine, { random: this.random, maxDelayNs: 300_000 });
    const { store } = simulated;
    if (this.layer === 0) {
      const owner = new Recorder();
      store.createLayer('v', owner, 0);
      this.rig.until(() => owner.layers.length > 0);
      this.layer = owner.layers[0]!;
    }
    const lost = this.#check(extents, store);
    if (lost !== null) return lost;
    const drivers: DrainDriver[] = [];
    for (let drain = 0; drain < 3; drain++) {
      const active = SEGMENTS.map(segment => this.#drain(engine, extents, store, segment));
      drivers.push(...active);
      const steps = Math.floor(this.random() * 60);
      this.rig.steps(steps);
      if (this.random() < 0.4) break;
      this.rig.until(() => active.every(driver => driver.done));
      for (const driver of active) expect(driver.failed).toBeNull();
    }
    this.statistics.cuts++;
    this.statistics.drains += drivers.length;
    if (drivers.some(driver => !driver.done)) this.statistics.cutsInDrain++;
    simulated.crash();
    this.rig.powerCut();
    return null;
  }

  #drain(engine: DiskRig['engine'], extents: ExtentStore, store: SimulatedStore['store'], segment: number): DrainDriver {
    for (let i = 0; i < 5; i++) {
      const block = BLOCKS[Math.floor(this.random() * BLOCKS.length)]!;
      const state = this.random() < 0.2 ? BlockState.zero : BlockState.data;
      this.log.push({ seq: ++this.seq, segment, block, state });
    }
    const from = store.drainSeq(this.layer, segment);
    const newest = BLOCKS.map(block => this.#newest(segment, block, this.seq)).filter(
      entry => entry !== undefined && entry.seq > from,
    ) as LogEntry[];
    const offset = BUFFER_OFFSET + SEGMENTS.indexOf(segment) * BLOCKS.length * BLOCK_BYTES;
    const mutant = this.mutant === 'commit-before-sync' ? this.mutant : 'none';
    const driver = new DrainDriver(engine, extents, store, this.layer, segment, this.seq, newest, offset, mutant);
    driver.start();
    return driver;
  }

  #newest(segment: number, block: number, throughSeq: number): LogEntry | undefined {
    return this.log.findLast(entry => entry.segment === segment && entry.block === block && entry.seq <= throughSeq);
  }

  /** Whether everything the store vouches for is there, to the reader and to the offline verifiers. */
  #check(extents: ExtentStore, store: SimulatedStore['store']): string | null {
    const { engine } = this.rig;
    for (const segment of SEGMENTS) {
      const drained = store.drainSeq(this.layer, segment);
      for (const block of BLOCKS) {
        const known = this.#newest(segment, block, drained);
        const [found] = lookup(store, this.layer, segment, block, 1);
        const expected =
          known === undefined ? '0:0:0' : `${known.state}:${known.state === BlockState.data ? crcOf(known) : 0}:${known.seq}`;
        if (found !== expected) return `segment ${segment} block ${block}: the store says ${found}, should say ${expected}`;
        if (known?.state !== BlockState.data) continue;
        let result: number | null = null;
        extents.read(this.layer, segment, block, 1, BUFFER_OFFSET, { onRead: (_tag, value) => (result = value) }, 0);
        this.rig.until(() => result !== null);
        expect(result).toBe(BLOCK_BYTES);
        const whole = Buffer.compare(engine.arena.bytes.subarray(BUFFER_OFFSET, BUFFER_OFFSET + BLOCK_BYTES), contentOf(known)) === 0;
        if (whole) continue;
        // A later drain had begun to write here: the log has it.
        if (this.#pending(segment, block, drained)) this.statistics.redrainedOverMixture++;
        else return `segment ${segment} block ${block}: lost seq ${known.seq}`;
      }
    }
    const records = readerOf(this.storeDisk);
    const pending = (_layer: number, segment: number, block: number) => this.#pending(segment, block, store.drainSeq(this.layer, segment));
    const findings = [
      ...verifyStore(records),
      ...verifyExtents({ files: engine.files, arena: engine.arena, scratchOffset: SCRATCH_OFFSET, root: ROOT, records, pending }),
    ];
    const errors = findings.filter(finding => finding.severity === 'error');
    return errors.length === 0 ? null : `the verifier: ${JSON.stringify(errors[0])}`;
  }

  #pending(segment: number, block: number, drained: number): boolean {
    return this.log.some(entry => entry.segment === segment && entry.block === block && entry.seq > drained);
  }
}

function runSeeds(mutant: Mutant, seeds: number): { lost: string[]; statistics: Statistics } {
  const statistics: Statistics = { drains: 0, cuts: 0, cutsInDrain: 0, redrainedOverMixture: 0 };
  const lost: string[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const found = new Scenario(seed, mutant, statistics).run();
    if (found !== null) lost.push(`seed ${seed}: ${found}`);
  }
  return { lost, statistics };
}

describe('drains over the faulty disk', () => {
  it('lose nothing that the store vouches for, at any power cut', () => {
    const { lost, statistics } = runSeeds('none', 200);
    expect(lost).toEqual([]);
    // The cuts hit what they are for.
    expect(statistics.cutsInDrain).toBeGreaterThan(200);
    expect(statistics.redrainedOverMixture).toBeGreaterThan(50);
  });

  it('catches a store commit before the extents are synced', () => {
    expect(runSeeds('commit-before-sync', 20).lost.length).toBeGreaterThan(0);
  });

  it('catches a directory sync left out', () => {
    expect(runSeeds('no-directory-sync', 20).lost.length).toBeGreaterThan(0);
  });
});
