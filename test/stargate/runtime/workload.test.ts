import { describe, expect, it } from 'vitest';
import type { StargateMutations } from '../../../src/stargate/runtime/node-part.js';
import { SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { seededRandom } from 'uring-engine/faulty';
import { describeVdisk, Rig, temporaryDirectory, type Scenario } from './rig.js';
import { Workload } from './workload.js';

const SESSIONS = 3;
type Kind = 'io_uring' | 'libuv';

async function drive(kind: Kind, seed: number, lives: number, requests: number, mutations: StargateMutations = {}) {
  const directory = temporaryDirectory();
  const disk = new SimulatedStoreDisk();
  const workload = new Workload(seededRandom(seed), SESSIONS);
  let drained = 0;
  try {
    for (let life = 1; life <= lives; life++) {
      const rig = new Rig(kind, directory.path, disk, [describeVdisk(life, 2 * 2 ** 30)], mutations);
      await rig.run(function* (): Scenario {
        yield rig.serving;
        const failure = yield workload.run(rig, requests);
        if (failure instanceof Error) throw failure;
        expect([rig.fatal, rig.corrupt]).toEqual(['', []]);
        drained = [...rig.node.served.values()][0]!.controller.state.drainedSeq;
        if (life % 3 === 0) yield rig.stop;
      });
    }
  } finally {
    directory.remove();
  }
  return { workload, drained };
}

describe('requests outstanding over lost paths and restarts', () => {
  it.each([
    ['io_uring', 1],
    ['libuv', 2],
    ['io_uring', 3],
  ] as const)('give what was written, over %s, seed %i', async (kind, seed) => {
    const { workload, drained } = await drive(kind, seed, 5, 2_000);
    expect(workload.reads).toBeGreaterThan(3_000);
    expect(workload.replays).toBeGreaterThan(100);
    expect(drained).toBeGreaterThan(1_000);
  });

  it('find a node that applies replayed changes again', async () => {
    const failures: unknown[] = [];
    for (let seed = 1; seed <= 10 && failures.length === 0; seed++) {
      await drive('libuv', seed, 3, 1_000, { controller: { noDedupe: true } }).catch((error: unknown) => failures.push(error));
    }
    expect(String(failures[0])).toMatch(/came back after it was replaced/);
  });
});
