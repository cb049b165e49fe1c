import { describe, expect, it } from 'vitest';
import { isBad, tellCluster, Totals } from '../report.js';
import { CLUSTER_MUTANTS, huntInCluster, STORY_SEEDS } from './mutants.js';
import { ClusterRun, type ClusterCounters, type ClusterResult } from './run.js';

const FIRST_SEED = Number(process.env['GATEPATH_SEED'] ?? 1);
const SEEDS = 100;

describe('a cluster of nodes, simulated', () => {
  it(`loses nothing, applies nothing twice, and comes to rest with equal replicas, over ${SEEDS} histories`, () => {
    const totals = new Totals<ClusterCounters>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const result = new ClusterRun({ seed }).run();
      totals.add(result);
      if (isBad(result)) expect.fail(tellCluster({ seed }, false));
    }
    // What it is for has happened.
    const wanted: Partial<Record<keyof ClusterCounters, number>> = {
      changes: 5_000,
      kills: 80,
      powerCuts: 80,
      pauses: 60,
      partitions: 200,
      takeovers: 150,
      unknownCas: 30,
      replayed: 60,
      resyncs: 20,
      drains: 500,
      resizes: 100,
      migrations: 8,
      successors: 4,
    };
    for (const [name, least] of Object.entries(wanted))
      expect(totals.of(name as keyof ClusterCounters), `${name}\n${totals.text()}`).toBeGreaterThan(least);
  });

  it('and over long ones, and such with whole segments zeroed', () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 3; seed++) {
      const long = { seed, isLong: true };
      if (isBad(new ClusterRun(long).run())) expect.fail(tellCluster(long, false));
      const whole = { seed, shape: { wholeSegmentsIn: 1 } };
      if (isBad(new ClusterRun(whole).run())) expect.fail(tellCluster(whole, false));
    }
  });

  it('with durability "flush" loses only what was not flushed, and only when no memory is left, and says so', () => {
    const totals = new Totals<ClusterCounters>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 50; seed++) {
      const options = { seed, shape: { durability: 'flush' } } as const;
      const result = new ClusterRun(options).run();
      totals.add(result);
      if (isBad(result)) expect.fail(tellCluster(options, false));
    }
    expect(totals.of('coldTooSoon')).toBe(0);
    expect([totals.of('cold') > 15, totals.of('toldLosses') > 5], totals.text()).toEqual([true, true]);
  });

  it('is the same twice, event for event, and another one with another seed', () => {
    const run = (seed: number, isRead = false): ClusterResult => new ClusterRun({ seed, isRead }).run();
    const first = run(161);
    expect(run(161).hash).toBe(first.hash);
    expect(run(7).hash).not.toBe(first.hash);
    const read = run(161, true);
    expect(read.hash).toBe(first.hash);
    expect(read.lines.length).toBe(first.counters.events);
  });
});

describe('a history that found something once', () => {
  it.each([
    ['a node that stops began to control what it had just let go of, when memory came back for what had been refused', 900_277],
    ['the same, of another vdisk', 900_383],
    ['a resync wrote again and again to a disk that gave errors', 2_001_931],
    ['who asked a replica that was no member kept it from being brought up', 3_200_576],
    ['a drain round that began while a resync ended spoke of a place that the log had no more', 4_001_203],
    ['a member whose disk was replaced while nobody wrote was kept in the group for ever', 5_002_943],
    ['the tail of a replica without a place in its group held the log of its node for ever', 2_002_971],
    ['a start forgot that there had been something where the vdisk was shrunk then, and a replica that had it kept it', 10_502_720],
    ['a drain that was refused for want of space was delivered once more by the simulated link, and was let in then', 7_000_864],
  ])('%s', (_what, seed) => {
    // As histories were.
    const { violations, exception } = new ClusterRun({ seed, shape: { migrates: false, suspects: false } }).run();
    expect([violations, exception]).toEqual([[], null]);
  });
});

describe('a planted bug of replication is found, over whole nodes, by what comes of it', () => {
  const found = CLUSTER_MUTANTS.filter(({ seeds }) => seeds !== undefined);
  it.each(found.map(mutant => [mutant.name, mutant] as const))('%s', (_name, mutant) => {
    expect(huntInCluster(mutant, mutant.seeds!)).not.toBeNull();
  });

  const told = found.filter(({ directed }) => directed?.story !== undefined);
  it.each(told.map(mutant => [mutant.name, mutant] as const))('and without it, that story ends well: %s', (_name, { directed }) => {
    for (let seed = 1; seed <= STORY_SEEDS; seed++) {
      const { violations, exception } = new ClusterRun({ seed, ...directed }).run();
      expect([violations, exception]).toEqual([[], null]);
    }
  });
});
