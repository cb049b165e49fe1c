import { describe, expect, it } from 'vitest';
import type { EngineClient } from 'uring-engine';
import { BlockState } from '../../../src/stargate/core/ports.js';
import { SimulatedStore, SimulatedStoreDisk, type TimerSource } from '../../../src/stargate/store/simulated.js';
import { drainOf, lookup, Recorder, storeContract, type StoreHarness } from './contract.js';
import { seededRandom } from 'uring-engine/faulty';

/** A virtual clock: timers fire in the order of their times. */
class VirtualTimers implements TimerSource {
  readonly #clients: EngineClient[] = [];
  readonly #armed: { atNs: number; client: number; tag: number }[] = [];
  #nowNs = 0;

  register(client: EngineClient): number {
    return this.#clients.push(client) - 1;
  }

  timer(delayNs: number, client: number, tag: number): number {
    this.#armed.push({ atNs: this.#nowNs + delayNs, client, tag });
    return 0;
  }

  step(): boolean {
    this.#armed.sort((a, b) => a.atNs - b.atNs);
    const next = this.#armed.shift();
    if (next === undefined) return false;
    this.#nowNs = next.atNs;
    this.#clients[next.client]!.onCompletion(next.tag, 0);
    return true;
  }
}

function makeHarness(): StoreHarness {
  const disk = new SimulatedStoreDisk();
  const timers = new VirtualTimers();
  const random = seededRandom(1);
  // Few cache slots, so that chunks leave the cache in between.
  const open = () => new SimulatedStore(disk, timers, { random, chunkCacheSlots: 5 });
  let simulated = open();
  const settle = async () => {
    while (timers.step());
  };
  return {
    get store() {
      return simulated.store;
    },
    settle,
    async restart() {
      await settle();
      simulated = open();
    },
    close: settle,
  };
}

storeContract('simulated', async () => makeHarness());

describe('SimulatedStore, crash', () => {
  it('keeps every answered commit, a prefix of the others, and tears none', () => {
    let kept = 0;
    let lost = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const random = seededRandom(seed);
      const disk = new SimulatedStoreDisk();
      const timers = new VirtualTimers();
      const owner = new Recorder();
      const before = new SimulatedStore(disk, timers, { random });
      before.store.createLayer('v', owner, 0);
      while (timers.step());
      const layer = owner.layers[0]!;
      const steps = Math.floor(random() * 4);
      for (let i = 0; i < 6; i++) {
        const state = BlockState.data;
        before.store.commitDrain(
          drainOf(
            layer,
            0,
            i,
            i + 1,
            [0, 100, 200].map(block => ({ block, state, crc: i, seq: i + 1 })),
          ),
          owner,
          i,
        );
        if (random() < 0.3) timers.step();
      }
      for (let i = 0; i < steps; i++) timers.step();
      const answered = owner.committed.length;
      before.crash();
      while (timers.step());
      expect(owner.committed.length).toBe(answered);

      const after = new SimulatedStore(disk, timers, { random }).store;
      const reached = after.drainSeq(layer, 0);
      expect(reached).toBeGreaterThanOrEqual(answered);
      const expected = reached === 0 ? '0:0:0' : `1:${reached - 1}:${reached}`;
      for (const block of [0, 100, 200]) expect(lookup(after, layer, 0, block, 1)).toEqual([expected]);
      if (reached > answered) kept++;
      if (reached < 6) lost++;
    }
    // Both sides of the crash were seen.
    expect(kept).toBeGreaterThan(20);
    expect(lost).toBeGreaterThan(20);
  });

  it('tells everybody who waits that the disk failed, and everybody later', () => {
    const timers = new VirtualTimers();
    const simulated = new SimulatedStore(new SimulatedStoreDisk(), timers, { random: seededRandom(1) });
    const owner = new Recorder();
    simulated.store.createLayer('v', owner, 0);
    simulated.store.createLayer('v', owner, 1);
    simulated.fail('broken');
    expect(owner.failures).toEqual(['broken']);
    simulated.store.createLayer('v', owner, 2);
    expect(owner.failures).toEqual(['broken', 'broken']);
    while (timers.step());
    expect(owner.layers).toEqual([]);
  });
});
