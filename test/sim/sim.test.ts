import { describe, expect, it } from 'vitest';
import { hunt, MUTANTS } from './mutants.js';
import { isBad, tell, Totals } from './report.js';
import { Run, type Counters, type Result } from './run.js';

/** Power cuts over which the disk formats and everything above them have to hold. */
const POWER_CUTS = 500;
const FIRST_SEED = Number(process.env['GATEPATH_SEED'] ?? 1);
/** With `durability: flush`. */
const FORGETFUL_POWER_CUTS = 250;
/** Seeds within which each planted bug is found. */
const HUNT_SEEDS = 150;

describe('one node, simulated', () => {
  it(`loses nothing, applies nothing twice and tells no lies over ${POWER_CUTS} power cuts`, () => {
    const totals = new Totals<Counters>();
    for (let seed = FIRST_SEED; totals.of('powerCuts') < POWER_CUTS; seed++) {
      const result = new Run({ seed }).run();
      totals.add(result);
      if (isBad(result)) expect.fail(tell({ seed }, false));
    }
    // What it is for has happened.
    const wanted: Partial<Record<keyof Counters, number>> = {
      kills: 50,
      cutsInStart: 15,
      cleanStops: 50,
      fatalErrors: 5,
      changes: 10_000,
      trims: 1_000,
      replayed: 1_000,
      dedupeHits: 250,
      drains: 1_000,
      resentDrains: 50,
      tornTails: 15,
      rotFound: 5,
    };
    for (const [name, least] of Object.entries(wanted)) {
      expect(totals.of(name as keyof typeof wanted), `${name}\n${totals.text()}`).toBeGreaterThan(least);
    }
  });

  it(`with durability "flush" loses only what was not flushed, and says so, over ${FORGETFUL_POWER_CUTS} power cuts`, () => {
    const totals = new Totals<Counters>();
    const options = { shape: { durability: 'flush' } } as const;
    for (let seed = FIRST_SEED; totals.of('powerCuts') < FORGETFUL_POWER_CUTS; seed++) {
      const result = new Run({ seed, ...options }).run();
      totals.add(result);
      if (isBad(result)) expect.fail(tell({ seed, ...options }, false));
    }
    const wanted: Partial<Record<keyof Counters, number>> = { kills: 20, cleanStops: 20, changes: 5_000, drains: 400, toldLosses: 80 };
    for (const [name, least] of Object.entries(wanted)) {
      expect(totals.of(name as keyof typeof wanted), `${name}\n${totals.text()}`).toBeGreaterThan(least);
    }
  });

  it('is the same twice, event for event, and another one with another seed', () => {
    const run = (seed: number, isRead = false): Result => new Run({ seed, isRead }).run();
    const first = run(7);
    expect(run(7).hash).toBe(first.hash);
    expect(run(8).hash).not.toBe(first.hash);
    const read = run(7, true);
    expect(read.hash).toBe(first.hash);
    expect(read.lines.length).toBe(first.counters.events);
  });
});

describe('a planted bug is found by what comes of it', () => {
  it.each(MUTANTS.map(mutant => [mutant.name, mutant] as const))('%s', (_name, mutant) => {
    expect(hunt(mutant, HUNT_SEEDS)).not.toBeNull();
  });

  it('and told with the seed, the block and what led to it', () => {
    const mutant = MUTANTS.find(({ name }) => name === 'acknowledged before durable')!;
    const options = { seed: hunt(mutant, HUNT_SEEDS)!.seed, bugs: mutant.bugs! };
    const text = tell(options, false);
    expect(text).toMatch(/^seed \d+, trace [0-9a-f]{16}:\n {2}vdisk \d block \d+: #\d+ read \[/);
    expect(text).toMatch(/ms node: POWER CUT/);
    expect(text).toMatch(/ms client \d+: #\d+ write .*blocks\n/);
    expect(tell(options, false)).toBe(text);
  });
});
