import { describe, expect, it } from 'vitest';
import { MAX_CLIENTS, MAX_TAG } from '../../src/engine.js';
import { MAX_OPERATIONS } from '../../src/op-table.js';
import { codeOf, play, Stage } from './stage.js';
import type { MakeWorld } from './world.js';

/** Turns, hooks, the beginning and the end. */
export function lifeContract(make: MakeWorld): void {
  turnContract(make);

  describe('run', () => {
    it('goes on where it was stopped', async () => {
      const world = make();
      const { engine } = world;
      const stage = new Stage(world);
      const slot = engine.files.open(`${world.directory}/file`, { write: true, create: true });
      const written = stage.write(slot, 0, 4096, 0);
      engine.timer(0, engine.register({ onCompletion: () => engine.stop() }), 0);
      await engine.run();
      await stage.play(function* () {
        expect(yield written).toBe(4096);
        expect(yield stage.read(slot, 8192, 4096, 0)).toBe(4096);
      });
      world.close();
    });

    it('rejects with what a client throws, or a hook; the engine can be destroyed then', async () => {
      const world = make();
      const thrower = world.engine.register({
        onCompletion: () => {
          throw new Error('a bug');
        },
      });
      world.engine.timer(0, thrower, 0);
      await expect(world.engine.run()).rejects.toThrow('a bug');
      world.close();

      const other = make();
      other.engine.atTurnEnd(0, () => {
        throw new Error('another');
      });
      await expect(other.engine.run()).rejects.toThrow('another');
      other.close();
    });

    it('is not entered twice', async () => {
      await play(make, function* (stage) {
        const refused: unknown[] = [];
        stage.engine.run().catch((error: unknown) => refused.push(error));
        yield stage.settle();
        // Where the thread is blocked, the promise is looked at later.
        const after = Promise.resolve().then(() => expect(refused).toMatchObject([{ code: 'ERR_UNSUPPORTED' }]));
        stage.whenOver.push(after);
      });
    });

    it('ends with operations outstanding, and destroy with them', async () => {
      const world = make();
      const { engine } = world;
      const told: number[] = [];
      const client = engine.register({ onCompletion: tag => void told.push(tag) });
      const slot = engine.files.open(`${world.directory}/file`, { write: true, create: true });
      engine.timer(
        0,
        engine.register({
          onCompletion: () => {
            for (let i = 0; i < 100; i++) engine.write(slot, 0, 1 << 20, i << 20, 0, client, i);
            engine.stop();
          },
        }),
        0,
      );
      await engine.run();
      const before = told.length;
      world.close();
      await new Promise(resolve => setTimeout(resolve, 20));
      expect(told).toHaveLength(before);
    });
  });

  describe('limits', () => {
    it('of clients and tags', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const told: [number, number][] = [];
        const slot = engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
        let last = 0;
        // The stage and its deadline are two.
        for (let i = 2; i < MAX_CLIENTS; i++) last = engine.register({ onCompletion: (tag, result) => void told.push([tag, result]) });
        expect(codeOf(() => engine.register({ onCompletion: () => undefined }))).toBe('ERR_LIMIT');
        for (const [client, tag] of [
          [last, -1],
          [last, MAX_TAG + 1],
          [last, 0.5],
          [last, NaN],
          [last + 1, 0],
          [-1, 0],
          [0.5, 0],
          [NaN, 0],
        ] as const) {
          expect(
            codeOf(() => engine.read(slot, 0, 1, 0, client, tag)),
            `client ${client}, tag ${tag}`,
          ).toBe('ERR_ARGUMENT');
          expect(codeOf(() => engine.sync(slot, client, tag))).toBe('ERR_ARGUMENT');
          expect(codeOf(() => engine.timer(0, client, tag))).toBe('ERR_ARGUMENT');
          expect(codeOf(() => engine.close(slot, client, tag))).toBe('ERR_ARGUMENT');
        }
        expect(engine.outstanding).toBe(0);
        engine.write(slot, 0, 10, 0, 0, last, MAX_TAG);
        engine.timer(0, last, MAX_TAG);
        while (told.length < 2) yield stage.delay(1e5);
        expect(told.sort(([, a], [, b]) => a - b)).toEqual([
          [MAX_TAG, 0],
          [MAX_TAG, 10],
        ]);
      });
    });

    it('of operations outstanding: closes always have room', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const slot = engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
        const beside = engine.files.open(`${stage.world.directory}/file`, {});
        const syncs = Array.from({ length: MAX_OPERATIONS }, () => stage.read(slot, 0, 1, 0));
        expect(engine.outstanding).toBe(MAX_OPERATIONS);
        expect(codeOf(() => engine.sync(slot, client, 0))).toBe('ERR_LIMIT');
        const closes = [stage.close(slot), stage.close(beside)];
        expect(engine.outstanding).toBe(MAX_OPERATIONS + 2);
        expect(yield* stage.all(closes)).toEqual([0, 0]);
        expect(syncs.filter(one => one.result === null)).toEqual([]);
        expect(engine.outstanding).toBe(0);
      });
    });
  });
}

function turnContract(make: MakeWorld): void {
  describe('a turn', () => {
    it('calls its hooks at the end, by order, those of one order as they were added', async () => {
      const world = make();
      const { engine } = world;
      const calls: string[] = [];
      for (const [order, name] of [
        [30, 'c'],
        [10, 'a'],
        [20, 'b'],
        [10, 'a2'],
        [-5, '0'],
      ] as const)
        engine.atTurnEnd(order, () => calls.push(name));
      const client = engine.register({
        onCompletion: tag => {
          calls.push(`done ${tag}`);
          if (tag === 1) engine.stop();
        },
      });
      engine.timer(0, client, 0);
      engine.timer(0, client, 1);
      await engine.run();
      expect(calls.join(' ')).toBe('done 0 done 1 0 a a2 b c');
      world.close();
    });

    it('does not wait when it is the first, whatever is armed', async () => {
      const world = make();
      const { engine } = world;
      let turns = 0;
      let waited = 0;
      engine.timer(3e9, engine.register({ onCompletion: () => waited++ }), 0);
      engine.atTurnEnd(0, () => {
        turns++;
        engine.stop();
      });
      await engine.run();
      await engine.run();
      expect([turns, waited]).toEqual([2, 0]);
      world.close();
    });

    it('submits what its hooks enqueue', async () => {
      const world = make();
      const stage = new Stage(world);
      const slot = world.engine.files.open(`${world.directory}/file`, { write: true, create: true });
      let left = 100;
      world.engine.atTurnEnd(5, () => {
        if (left-- > 0)
          stage.op('write', (client, tag) => world.engine.write(slot, 0, 10, 0, 0, client, tag)).onDone = () => {
            if (left <= 0) world.engine.stop();
          };
      });
      await world.engine.run();
      expect(left).toBeLessThanOrEqual(0);
      world.close();
    });

    it('lets a hook add hooks: they are called from the next turn on', async () => {
      const world = make();
      const { engine } = world;
      const calls: string[] = [];
      const client = engine.register({ onCompletion: () => undefined });
      engine.atTurnEnd(0, () => {
        calls.push('first');
        if (calls.length === 1) engine.atTurnEnd(-1, () => calls.push('added'));
        if (calls.length > 2) engine.stop();
        else engine.timer(0, client, 0);
      });
      await engine.run();
      expect(calls).toEqual(['first', 'added', 'first']);
      world.close();
    });

    it('has one time, which only grows', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        let last = engine.nowNs;
        for (let i = 0; i < 20; i++) {
          yield stage.delay(1e5);
          expect(engine.nowNs).toBeGreaterThan(last);
          last = engine.nowNs;
        }
      });
    });

    it('never completes an operation during the call that enqueues it', async () => {
      await play(make, function* (stage) {
        const slot = stage.engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
        const operations = [
          stage.write(slot, 0, 10, 0),
          stage.read(slot, 0, 10, 0),
          stage.sync(slot),
          stage.allocate(slot, 0, 0, 10),
          stage.delay(0),
        ];
        const close = stage.close(slot);
        expect([...operations, close].map(one => one.result)).toEqual([null, null, null, null, null, null]);
        expect(yield close).toBe(0);
      });
    });

    it('is the last where stop was called in it, with all its completions and hooks', async () => {
      const world = make();
      const calls: string[] = [];
      const client = world.engine.register({
        onCompletion: tag => {
          calls.push(`done ${tag}`);
          if (tag === 0) world.engine.stop();
        },
      });
      world.engine.atTurnEnd(0, () => calls.push('end'));
      world.engine.timer(0, client, 0);
      world.engine.timer(0, client, 1);
      await world.engine.run();
      expect(calls).toEqual(['done 0', 'done 1', 'end']);
      world.close();
    });
  });
}
