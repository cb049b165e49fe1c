import { describe, expect, it } from 'vitest';
import { MAX_TIMERS } from '../../src/engine.js';
import { codeOf, play, type Operation, type Stage } from './stage.js';
import type { MakeWorld } from './world.js';

const MS = 1e6;

/** Timers. Real engines run against the real clock: nothing here says how late a timer may be. */
export function timersContract(make: MakeWorld): void {
  describe('timers', () => {
    it('fire in the order in which they are due, those due together in the order of arming', async () => {
      await play(make, function* (stage) {
        const order = [5, 1, 3, 1, 0, 5, 2, 0, -7].map(delay => [delay, stage.delay(delay * MS)] as const);
        yield stage.delay(8 * MS);
        const fired = [...order].sort(([, a], [, b]) => a.order - b.order);
        const due = [...order].sort(([a], [b]) => Math.max(a, 0) - Math.max(b, 0));
        expect(fired).toEqual(due);
        expect(order.map(([, timer]) => timer.result)).toEqual(order.map(() => 0));
      });
    });

    it('never fire early, and once', async () => {
      await play(make, function* (stage) {
        for (const delay of [0, 1, 1e3, 0.5 * MS, 3 * MS, 20 * MS, 150 * MS]) {
          const armedNs = stage.engine.nowNs;
          yield stage.delay(delay);
          expect(stage.engine.nowNs - armedNs).toBeGreaterThanOrEqual(delay);
        }
        yield stage.settle();
      });
    });

    it('that are cancelled do not complete; cancelling one that has fired, or none, does nothing', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const fired: number[] = [];
        const other = engine.register({ onCompletion: tag => void fired.push(tag) });
        const first = engine.timer(0, other, 1);
        const second = engine.timer(1, other, 2);
        engine.timer(2, other, 3);
        engine.cancelTimer(second);
        engine.cancelTimer(second);
        yield stage.settle();
        expect(fired).toEqual([1, 3]);
        engine.cancelTimer(first);
        engine.cancelTimer(999_999);
        engine.cancelTimer(engine.timer(1, client, 0));
        engine.timer(0, other, 4);
        yield stage.settle();
        expect(fired).toEqual([1, 3, 4]);
      });
    });

    it('can be cancelled by one that fires in the same turn', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const fired: number[] = [];
        const ids: number[] = [];
        const client = engine.register({
          onCompletion: tag => {
            fired.push(tag);
            if (tag === 0) engine.cancelTimer(ids[1]!);
          },
        });
        for (let tag = 0; tag < 3; tag++) ids.push(engine.timer(0, client, tag));
        yield stage.settle();
        expect(fired).toEqual([0, 2]);
      });
    });

    it('that arm themselves anew do not keep a turn from ending', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const turns: number[] = [];
        const client = engine.register({
          onCompletion: () => {
            turns.push(stage.turns);
            if (turns.length < 50) engine.timer(0, client, 0);
          },
        });
        engine.timer(0, client, 0);
        while (turns.length < 50) yield stage.delay(0);
        expect(new Set(turns).size).toBe(50);
      });
    });

    it('are not counted as outstanding', async () => {
      await play(make, function* (stage) {
        const timer = stage.delay(MS);
        expect(stage.engine.outstanding).toBe(0);
        yield timer;
      });
    });

    it('are limited in number; cancelled and fired ones make room', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        // The stage has a deadline armed.
        const ids = Array.from({ length: MAX_TIMERS - 1 }, () => engine.timer(1e15, client, 0));
        expect(codeOf(() => engine.timer(0, client, 0))).toBe('ERR_LIMIT');
        engine.cancelTimer(ids.pop()!);
        yield stage.delay(0);
        yield stage.delay(0);
        for (const id of ids) engine.cancelTimer(id);
        const again = Array.from({ length: MAX_TIMERS - 1 }, () => engine.timer(1e15, client, 0));
        for (const id of again) engine.cancelTimer(id);
      });
    });

    it('may lie years ahead, and are refused where they are no time', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const turns = stage.turns;
        const far = [2 ** 31 * MS, 1e17, Number.MAX_VALUE].map(delay => engine.timer(delay, client, 0));
        yield stage.settle();
        // None of them is taken for one that is due, again and again.
        expect(stage.turns - turns).toBeLessThan(10);
        for (const id of far) engine.cancelTimer(id);
        for (const delay of [NaN, Infinity, -Infinity]) expect(codeOf(() => engine.timer(delay, client, 0))).toBe('ERR_ARGUMENT');
      });
    });

    it('come in time while operations keep the engine busy', async () => {
      await play(make, function* (stage) {
        const slot = stage.engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
        const timer = stage.delay(5 * MS);
        let writes = 0;
        while (timer.result === null && writes++ < 100_000) expect(yield write(stage, slot)).toBe(4096);
        expect(timer.result).toBe(0);
      });
    });
  });
}

function write(stage: Stage, slot: number): Operation {
  return stage.write(slot, 0, 4096, 0);
}
