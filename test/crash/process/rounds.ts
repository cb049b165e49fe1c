import { NbdClient } from '../../support/nbd/client.js';
import { Random } from '../../support/random.js';
import type { NbdSystem } from '../../support/system.js';
import { sleep, within } from '../../support/wait.js';
import { Region, VerifiedLoad, verifyRegions } from '../load/load.js';

export interface RoundsOptions {
  readonly system: NbdSystem;
  readonly rounds: number;
  readonly seed: number;
  /** The kill comes at a random moment up to this after the load began. */
  readonly maxLoadMs?: number;
  readonly log?: (line: string) => void;
  /** What is wrong with what a killed process has left, before the next one starts with it. */
  readonly verifyLeft?: () => Promise<readonly string[]>;
}

export interface RoundsResult {
  readonly rounds: number;
  readonly acknowledgedWrites: number;
  readonly unanswered: number;
  readonly restartMs: readonly number[];
  /** Empty when nothing was lost. */
  readonly faults: readonly string[];
}

const MIB = 1024 * 1024;
/** The export must be at least so large. */
export const CRASH_EXPORT_BYTES = 512 * MIB;
const SERVER_START_TIMEOUT_MS = 60_000;
const MIN_LOAD_MS = 50;

/**
 * Rounds of: verified write load → SIGKILL at a random moment → start again → every acknowledged write is there, whole.
 * The history goes through all rounds, so that a later recovery that brings old data back is caught as well.
 */
export async function runCrashRounds(options: RoundsOptions): Promise<RoundsResult> {
  const { system, log = () => undefined } = options;
  const random = new Random(options.seed);
  const regions = crashRegions(options.seed);
  const connect = () => NbdClient.connect({ socket: system.socket }, system.exportName);
  const restartMs: number[] = [];
  let acknowledgedWrites = 0;
  let unanswered = 0;
  await within('first start', SERVER_START_TIMEOUT_MS, system.start());
  for (let round = 1; round <= options.rounds; round++) {
    const load = new VerifiedLoad({ connect, regions, random });
    await load.start();
    await sleep(random.between(MIN_LOAD_MS, options.maxLoadMs ?? 1500));
    await system.kill();
    await within('end of the load after the kill', 10_000, load.ended());
    acknowledgedWrites += load.counts.acknowledgedWrites;
    unanswered += load.counts.unanswered;
    const left = (await options.verifyLeft?.()) ?? [];
    const killedAt = performance.now();
    await within(`start after kill ${round}`, SERVER_START_TIMEOUT_MS, system.start());
    restartMs.push(Math.round(performance.now() - killedAt));
    const client = await connect();
    const faults = [...load.faults, ...left, ...(await verifyRegions(client, regions, true))];
    await client.disconnect();
    log(
      `round ${round}: ${load.counts.acknowledgedWrites} writes acknowledged, ${load.counts.unanswered} unanswered, up after ${restartMs.at(-1)} ms`,
    );
    if (faults.length > 0) return { rounds: round, acknowledgedWrites, unanswered, restartMs, faults };
  }
  return { rounds: options.rounds, acknowledgedWrites, unanswered, restartMs, faults: [] };
}

/** Whole blocks, and a part written in sectors, where the product must merge with what the block holds. */
export function crashRegions(salt: number): readonly Region[] {
  return [new Region(0, 4096, 8192, 256, salt), new Region(256 * MIB, 512, 8192, 512, salt)];
}
