import { PowerLoss, type FaultyEngine } from 'uring-engine/faulty';
import { describe, expect, it } from 'vitest';
import { EntryKind } from '../../src/stargate/core/ports.js';
import type { OplogMutations } from '../../src/stargate/oplog/index.js';
import { Lost, LogWorld } from '../stargate/oplog/log-world.js';
import { withoutDirectorySync, withoutDsync } from '../support/disk-rig.js';

/**
 * The real log over a disk that loses power: random appends of several vdisks, a crash at a random moment, recovery, and on. What was
 * acknowledged is there, identical and in order; nothing else is invented; a log that only lost power is never called rotten.
 */
const SEEDS = Number(process.env['GATEPATH_SEEDS'] ?? 300);
const ROUNDS = 4;
const SIZES = [0, 4096, 4096, 4096, 8192, 16384, 65536];

interface Statistics {
  crashes: number;
  cleanStops: number;
  crashesInFlight: number;
  crashesInStart: number;
  torn: number;
  turns: number;
  acks: number;
}

interface Bug {
  readonly mutations?: OplogMutations;
  readonly engine?: (engine: FaultyEngine) => void;
}

/** Null, or what was lost. */
function runSeed(seed: number, bug: Bug, statistics: Statistics): string | null {
  const world = new LogWorld(seed, 4, {
    segmentBytes: 128 << 10,
    segments: 8,
    mutations: bug.mutations ?? {},
    ...(bug.engine === undefined ? {} : { bug: bug.engine }),
  });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      start(world, statistics);
      statistics.torn += world.report.tornBytes > 0 ? 1 : 0;
      // Or just after it.
      if (world.random() < 0.8) life(world, statistics);
      if (world.random() < 0.1) {
        world.close();
        statistics.cleanStops++;
      } else {
        statistics.crashes++;
        statistics.crashesInFlight += world.expected.length > 0 ? 1 : 0;
        if (world.random() < 0.85) world.rig.powerCut();
        else world.rig.kill();
      }
      statistics.acks += world.acks;
      world.acks = 0;
    }
    world.start();
    return null;
  } catch (error) {
    if (error instanceof Lost) return `seed ${seed}: ${error.message}`;
    throw Object.assign(error as Error, { message: `seed ${seed}: ${(error as Error).message}` });
  }
}

/** Now and then the power goes in the middle of a start, several times perhaps. */
function start(world: LogWorld, statistics: Statistics): void {
  while (world.random() < 0.3) {
    try {
      world.start(Math.floor(world.random() * 16));
    } catch (error) {
      if (!(error instanceof PowerLoss)) throw error;
      statistics.crashesInStart++;
    }
    world.rig.powerCut();
  }
  world.start();
}

function life(world: LogWorld, statistics: Statistics): void {
  const { random } = world;
  const steps = Math.floor(random() * 120);
  const burst = 1 + Math.floor(random() * 12);
  // A HEAD of each vdisk: an old one alone would hold the log back.
  for (const vdisk of world.vdisks) if (random() < 0.8) world.append(vdisk, 600, EntryKind.head);
  for (let i = 0; i < steps; i++) {
    for (let k = Math.floor(random() * burst); k > 0; k--) {
      const vdisk = world.vdisks[Math.floor(random() * world.vdisks.length)]!;
      const control = random() < 0.1;
      const bytes = control ? Math.floor(random() * 9_000) : SIZES[Math.floor(random() * SIZES.length)]!;
      world.append(vdisk, bytes, control ? EntryKind.head : bytes === 0 ? EntryKind.zero : EntryKind.write);
    }
    world.rig.steps(1 + Math.floor(random() * 3));
    for (const vdisk of world.vdisks) {
      if (vdisk.ackedSeq > vdisk.neededSeq && random() < 0.2) world.truncate(vdisk, vdisk.ackedSeq);
    }
    if (random() < 0.02) world.settle();
  }
  // The crash is to find batches in flight.
  if (random() < 0.6) {
    for (let k = 1 + Math.floor(random() * 20); k > 0; k--)
      world.append(world.vdisks[k % world.vdisks.length]!, 4096 * Math.floor(random() * 5));
    for (let k = Math.floor(random() * 4); k > 0; k--) world.rig.steps(2);
  }
  statistics.turns += world.stream.statistics().liveSegments - 1;
}

function runSeeds(seeds: number, bug: Bug = {}, stopAtFirst = false): { lost: string[]; statistics: Statistics } {
  const statistics: Statistics = { crashes: 0, cleanStops: 0, crashesInFlight: 0, crashesInStart: 0, torn: 0, turns: 0, acks: 0 };
  const lost: string[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const found = runSeed(seed, bug, statistics);
    if (found !== null) lost.push(found);
    if (stopAtFirst && lost.length > 0) break;
  }
  return { lost, statistics };
}

describe('the log over a disk that loses power', () => {
  it(`keeps what it acknowledged, over ${SEEDS} seeds`, { timeout: 60_000 + SEEDS * 200 }, () => {
    const { lost, statistics } = runSeeds(SEEDS);
    expect(lost).toEqual([]);
    // The crashes hit what they are for.
    expect(statistics.crashes).toBeGreaterThan(SEEDS * 3);
    expect(statistics.crashesInFlight).toBeGreaterThan(SEEDS);
    expect(statistics.crashesInStart).toBeGreaterThan(SEEDS / 2);
    expect(statistics.torn).toBeGreaterThan(SEEDS / 10);
    expect(statistics.acks).toBeGreaterThan(SEEDS * 50);
    if (process.env['GATEPATH_SEEDS'] !== undefined) console.log(JSON.stringify(statistics));
  });

  const bugs: Record<string, Bug> = {
    'no DSYNC': { engine: withoutDsync },
    'no sync of the directory': { engine: withoutDirectorySync },
    'acknowledged before durable': { mutations: { ackBeforeDurable: true } },
    'the cut is not durable': { mutations: { cutNotDurable: true } },
    'a later intact batch is taken for a sign of rot': { mutations: { laterBatchMeansRot: true } },
  };
  for (const [name, bug] of Object.entries(bugs)) {
    it(`catches a planted bug: ${name}`, () => {
      expect(runSeeds(Math.min(SEEDS, 300), bug, true).lost).toHaveLength(1);
    });
  }
});
