import { expect, it } from 'vitest';
import { ClusterRun } from './run.js';
import type { Stage } from './stage.js';

/** Of each operation on the disk of the replica that is brought up, at the most. */
const SLOW_NS = 500e6;
const LONGEST_GAP_MS = 400;
const READ_NS = 50e6;

it('a resync that takes longer than the log has room holds up nobody, and comes to an end', () => {
  let [longestGapMs, tookMs] = [0, 0];
  const play = (stage: Stage): void => {
    const { cluster } = stage;
    const { clock, counters } = cluster;
    stage.answers(500);
    const [controller, away] = stage.cast;
    away!.kill();
    away!.replaceDisk();
    stage.until(() => stage.members.length === 2, 'a member less');
    away!.start();
    away!.disk.maxLatencyNs = SLOW_NS;
    const beganNs = clock.nowNs;
    let lastNs = beganNs;
    let asked = counters.asked;
    stage.until(() => {
      longestGapMs = Math.max(longestGapMs, (clock.nowNs - lastNs) / 1e6);
      if (counters.asked > asked) lastNs = clock.nowNs;
      asked = counters.asked;
      return controller.counters2.resyncs > 0;
    }, 'the end of the resync');
    tookMs = (clock.nowNs - beganNs) / 1e6;
    away!.disk.maxLatencyNs = away!.shape.maxLatencyNs;
    stage.until(() => stage.members.length === 3, 'all members');
  };
  const shape = { nodeCount: 3, replicationFactor: 3, vdiskCount: 1, hotBlocks: 64, resizes: false };
  const { violations, exception } = new ClusterRun({ seed: 5, shape, story: { home: 1, play } }).run();
  expect([violations, exception]).toEqual([[], null]);
  expect(tookMs).toBeGreaterThan(10 * LONGEST_GAP_MS);
  expect(longestGapMs).toBeLessThan(LONGEST_GAP_MS);
});

it('a replica that is asked to take over while it is brought up reads the record again and again, and is brought up all the same', () => {
  const play = (stage: Stage): void => {
    const { cluster } = stage;
    const { clock, metadata } = cluster;
    stage.answers(500);
    const [, away] = stage.cast;
    away!.kill();
    away!.replaceDisk();
    stage.until(() => stage.members.length === 1, 'a member less');
    away!.start();
    away!.disk.maxLatencyNs = SLOW_NS / 5;
    let isReading = false;
    let isOver = false;
    // Half of the time it waits for the metadata.
    const ask = (): void => {
      if (isOver) return;
      isReading = !isReading;
      if (isReading) {
        metadata.delayed = { node: away!.number, requests: [] };
        away!.turn(part => part.groups!.all.get(cluster.vdisks[0]!.id)?.step({ kind: 'takeOver' }));
      } else {
        const { requests } = metadata.delayed!;
        metadata.delayed = null;
        for (const deliver of requests) deliver();
      }
      clock.after(READ_NS, ask);
    };
    ask();
    stage.until(() => stage.members.length === 2, 'both members');
    isOver = true;
    away!.disk.maxLatencyNs = away!.shape.maxLatencyNs;
  };
  const shape = { nodeCount: 2, replicationFactor: 2, vdiskCount: 1, hotBlocks: 64, resizes: false };
  const { violations, exception } = new ClusterRun({ seed: 5, shape, story: { home: 1, play } }).run();
  expect([violations, exception]).toEqual([[], null]);
});
