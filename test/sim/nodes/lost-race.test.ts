import { expect, it } from 'vitest';
import { ClusterRun } from './run.js';
import type { Stage } from './stage.js';

/** Far below the time that an open waits for the end of a takeover. */
const SOON_MS = 300;

it('who waits at a member for its takeover hears at once that another member has won it', () => {
  const told: { reason: string; node: string | undefined; afterMs: number }[] = [];
  let winnerNode = '';
  const play = (stage: Stage): void => {
    const { clock, metadata } = stage.cluster;
    stage.answers(50);
    const [controller, loser, winner] = stage.cast;
    winnerNode = winner!.nodeId;
    controller.kill();
    // Its reading of the record is on its way for so long that the other one is faster.
    const late = { node: loser!.number, requests: [] as (() => void)[] };
    metadata.delayed = late;
    const { opens } = stage.replica(loser!);
    stage.until(() => !opens.isControllerAlive(clock.nowNs / 1e6), 'the silence of the controller');
    let wonNs = Infinity;
    loser!.turn(() =>
      opens.want({
        onRefused: (reason, _message, node) => told.push({ reason, node, afterMs: (clock.nowNs - wonNs) / 1e6 }),
        onController: () => told.push({ reason: 'controller', node: undefined, afterMs: 0 }),
      }),
    );
    stage.takeOver(winner!);
    wonNs = clock.nowNs;
    metadata.delayed = null;
    for (const deliver of late.requests) deliver();
    stage.until(() => told.length > 0, 'the answer to who waits');
  };
  const shape = { nodeCount: 3, replicationFactor: 3, vdiskCount: 1, hotBlocks: 16, resizes: false };
  const { violations, exception } = new ClusterRun({ seed: 7, shape, story: { home: 4, play } }).run();
  expect([violations, exception]).toEqual([[], null]);
  expect(told.map(({ reason, node }) => [reason, node])).toEqual([['moved', winnerNode]]);
  expect(told[0]!.afterMs).toBeLessThan(SOON_MS);
});
