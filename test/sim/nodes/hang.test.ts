import { describe, expect, it } from 'vitest';
import { ClusterRun, type ClusterRunOptions } from './run.js';
import type { Stage } from './stage.js';

const HOLD_NS = 3e9;
const AFTER_NS = 1.5e9;

interface Round {
  readonly takeovers: number;
  /** Longest time without an answer. */
  readonly longestGapMs: number;
}

/** The controller's process stands still for a while, and nothing else goes wrong. */
function hang(seed: number, replicationFactor: number): Round {
  const round = { takeovers: 0, longestGapMs: 0 };
  const play = (stage: Stage): void => {
    const { cluster } = stage;
    const { clock, counters } = cluster;
    stage.answers(20);
    for (const node of cluster.nodes)
      node.onEvent = ({ kind }) => void (round.takeovers += kind === 'controller-taken-over' && clock.nowNs < endNs ? 1 : 0);
    const [controller] = stage.cast;
    const endNs = clock.nowNs + HOLD_NS + AFTER_NS;
    controller.engine!.pause();
    clock.after(HOLD_NS, () => controller.engine?.resume());
    for (let lastNs = clock.nowNs, asked = counters.asked; clock.nowNs < endNs; asked = counters.asked) {
      cluster.step();
      round.longestGapMs = Math.max(round.longestGapMs, (clock.nowNs - lastNs) / 1e6);
      if (counters.asked > asked) lastNs = clock.nowNs;
    }
  };
  const shape = { nodeCount: 3, replicationFactor, vdiskCount: 1, hotBlocks: 12, resizes: false };
  const options: ClusterRunOptions = { seed, shape, story: { home: 1 + (seed % 4), shards: 1 + (seed % 2), play } };
  const { violations, exception } = new ClusterRun(options).run();
  expect([violations, exception], `seed ${seed}`).toEqual([[], null]);
  return round;
}

describe('a controller that hangs', () => {
  // The bound is a second until it is missed, and the takeover. Logs are small here: one that is kept for a copy that has been brought up is full at once.
  it.each([
    [2, [13]],
    [3, [13]],
  ])('of %i replicas is followed once, and whoever is brought up in its place holds nobody up', (replicationFactor, seeds) => {
    for (const seed of seeds) {
      const { takeovers, longestGapMs } = hang(seed, replicationFactor);
      expect(takeovers, `seed ${seed}`).toBe(1);
      expect(longestGapMs, `seed ${seed}`).toBeLessThan(1_500);
    }
  });
});
