import { describe, expect, it } from 'vitest';
import { Outstanding } from '../../../src/datapath/outstanding.js';
import { IoOp } from '../../../src/wire/path.js';
import type { FaultOptions } from './faults.js';
import { replace } from './plant.js';
import { ClusterRun, type ClusterResult, type ClusterRunOptions } from './run.js';
import type { Stage } from './stage.js';

const SEEDS = 4;
const CALM_OTHERWISE = { nodeCount: 3, replicationFactor: 3, minMembers: 1, vdiskCount: 1, hotBlocks: 6, resizes: false, migrates: false };
/** Processes die and connections break all the time, from controllers that are asked without a pause. */
const KILLS: FaultOptions = { kinds: ['kill', 'kill', 'path', 'link', 'takeover'], maxGapMs: 250 };

const killed = (seed: number): ClusterResult => new ClusterRun({ seed, isLong: true, shape: CALM_OTHERWISE, faults: KILLS }).run();
/** Each controller that has got the write dies before it can answer, so many of them. */
function dieOfOneWrite(stage: Stage, deaths: number): void {
  const { cluster, datapath } = stage;
  stage.quiet();
  const [client] = datapath.clients;
  // Nobody else has it when the first one dies: the next one does not find it in its log.
  const [first, ...others] = stage.cast;
  for (const other of others) stage.blockOneWay(first, other);
  const isAnswered = stage.ask(client!, IoOp.write, 0);
  for (let i = 0; i < deaths; i++) {
    stage.until(() => client!.session.state.kind === 'open' && stage.serving !== undefined, 'a path');
    stage.for(0.2);
    expect(isAnswered()).toBe(false);
    const { serving } = stage;
    serving!.kill();
    cluster.clock.after(1e9, () => serving!.start());
  }
  cluster.network.heal();
  stage.until(isAnswered, 'the write');
}

function story(deaths: number): ClusterRunOptions {
  const shape = { ...CALM_OTHERWISE, replicationFactor: 2, maxLatencyNs: 12_000_000 };
  return { seed: 1, shape, story: { home: 4, play: stage => dieOfOneWrite(stage, deaths) } };
}

/** What a controller had when it died is accused at once. */
function oneDeathIsEnough(): () => void {
  const { suspect } = Outstanding.prototype;
  return replace(Outstanding.prototype, {
    suspect(this: Outstanding, term: number, sinceNs: number): ReturnType<typeof suspect> {
      suspect.call(this, term, sinceNs);
      return suspect.call(this, -1, sinceNs);
    },
  });
}

describe('a vdisk is quarantined when two controllers have died of the same request', () => {
  it(`and never by ordinary kills and connections that break, over ${SEEDS} long histories`, () => {
    let [kills, lostPaths] = [0, 0];
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { violations, exception, counters } = killed(seed);
      expect([violations, exception, counters.quarantines], `seed ${seed}`).toEqual([[], null, 0]);
      kills += counters.kills;
      lostPaths += counters.lostPaths;
    }
    // What it is for has happened.
    expect([kills > 5 * SEEDS, lostPaths > 5 * SEEDS], `${kills} kills, ${lostPaths} lost paths`).toEqual([true, true]);
  });

  it.each([
    [1, 0],
    [2, 1],
  ])('%i have died: %i quarantines, and it goes on when it is released', (deaths, quarantines) => {
    const { violations, exception, counters } = new ClusterRun(story(deaths)).run();
    expect([violations, exception, counters.quarantines]).toEqual([[], null, quarantines]);
  });

  it('one death that is enough is found (planted)', () => {
    const takeOut = oneDeathIsEnough();
    try {
      expect(Array.from({ length: SEEDS }, (_, i) => i + 1).some(seed => killed(seed).counters.quarantines > 0)).toBe(true);
    } finally {
      takeOut();
    }
  });
});
