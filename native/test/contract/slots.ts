import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MAX_SLOTS, type Slot } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { codeOf, gatherOf, play, type Stage } from './stage.js';
import type { Features, MakeWorld } from './world.js';

const NO_SLOTS = [-1, 0.5, NaN, 3, MAX_SLOTS, 2 ** 32];

/** Slots: what they are good for, and how they end. */
export function slotsContract(make: MakeWorld, features: Features): void {
  const create = (stage: Stage, name = 'file'): Slot =>
    stage.engine.files.open(`${stage.world.directory}/${name}`, { write: true, create: true });

  describe('slots', () => {
    it('are refused where they are not open, or of another kind', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const file = create(stage);
        for (const slot of NO_SLOTS) {
          expect(
            codeOf(() => engine.read(slot, 0, 10, 0, client, 0)),
            `slot ${slot}`,
          ).toBe('ERR_SLOT');
          expect(codeOf(() => engine.write(slot, 0, 10, 0, 0, client, 0))).toBe('ERR_SLOT');
          expect(codeOf(() => engine.sync(slot, client, 0))).toBe('ERR_SLOT');
          expect(codeOf(() => engine.allocate(slot, 0, 0, 10, client, 0))).toBe('ERR_SLOT');
          expect(codeOf(() => engine.close(slot, client, 0))).toBe('ERR_SLOT');
          expect(codeOf(() => engine.release(slot))).toBe('ERR_SLOT');
        }
        if (features.sockets) {
          const listener = engine.listen({ family: 'unix', path: `${stage.world.directory}/s` });
          for (const slot of [...NO_SLOTS, file, listener]) {
            expect(codeOf(() => engine.recv(slot, 0, 10, 0, client, 0))).toBe('ERR_SLOT');
            expect(codeOf(() => engine.send(slot, gatherOf([[0, 10]]), 0, client, 0))).toBe('ERR_SLOT');
            expect(codeOf(() => engine.shutdown(slot))).toBe('ERR_SLOT');
          }
          for (const slot of [...NO_SLOTS, file]) {
            expect(codeOf(() => engine.accept(slot, client, 0))).toBe('ERR_SLOT');
            expect(codeOf(() => engine.localAddress(slot))).toBe('ERR_SLOT');
          }
          expect(codeOf(() => engine.read(listener, 0, 10, 0, client, 0))).toBe('ERR_SLOT');
          expect(codeOf(() => engine.files.close(listener))).toBe('ERR_SLOT');
        }
        expect(engine.outstanding).toBe(0);
        // Refused operations complete nowhere.
        yield stage.settle();
      });
    });

    it('close with 0, and are refused from the call on', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const slot = create(stage);
        const close = stage.close(slot);
        expect(close.result).toBe(null);
        expect(engine.outstanding).toBe(1);
        expect(codeOf(() => engine.read(slot, 0, 10, 0, client, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => engine.close(slot, client, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => engine.files.sizeBytes(slot))).toBe('ERR_SLOT');
        expect(codeOf(() => engine.release(slot))).toBe('ERR_SLOT');
        expect(yield close).toBe(0);
        expect(engine.outstanding).toBe(0);
        expect(codeOf(() => engine.close(slot, client, 0))).toBe('ERR_SLOT');
      });
    });

    it('close after what is outstanding on them: each operation completes, the close last', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        const operations = [];
        for (let i = 0; i < 64; i++) operations.push(stage.write(slot, i * 4096, 4096, i * 4096), stage.sync(slot));
        const close = stage.close(slot);
        expect(yield close).toBe(0);
        for (const operation of operations) {
          expect([operation.what === 'write' ? 4096 : 0, -errno.ECANCELED]).toContain(operation.result);
          expect(operation.order).toBeLessThan(close.order);
        }
        expect(stage.engine.outstanding).toBe(0);
      });
    });

    it('do not give their number to anybody else before the close is told', async () => {
      await play(make, function* (stage) {
        const slots = Array.from({ length: 20 }, (_, i) => create(stage, `f${i}`));
        const writes = slots.map(slot => stage.write(slot, 0, 4096, 0));
        const closes = slots.map(slot => stage.close(slot));
        // Opens during the turns in which the closes are under way.
        const open = new Set(slots);
        for (const [i, close] of closes.entries()) {
          const slot = create(stage, `g${i}`);
          const closed = slots.filter((_, at) => closes[at]!.result !== null);
          expect(open.has(slot) && !closed.includes(slot), `slot ${slot}`).toBe(false);
          open.add(slot);
          expect(yield close).toBe(0);
        }
        expect(writes.every(write => write.result !== null)).toBe(true);
      });
    });

    it('are not given away, and not closed by the file system, while something is outstanding', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        const write = stage.write(slot, 0, 4096, 0);
        expect(codeOf(() => stage.engine.release(slot))).toBe('ERR_SLOT');
        expect(codeOf(() => stage.engine.files.close(slot))).toBe('ERR_SLOT');
        expect(yield write).toBe(4096);
        stage.engine.files.close(slot);
        expect(codeOf(() => stage.engine.files.close(slot))).toBe('ERR_SLOT');
      });
    });

    it('go to another slot with their descriptor', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        stage.fill(0, 4096, 1);
        expect(yield stage.write(slot, 0, 4096, 0)).toBe(4096);
        const fd = stage.engine.release(slot);
        expect(codeOf(() => stage.engine.files.sizeBytes(slot))).toBe('ERR_SLOT');
        const again = stage.engine.adopt(fd, 'file');
        expect(stage.engine.files.sizeBytes(again)).toBe(4096);
        expect(yield stage.read(again, 8192, 4096, 0)).toBe(4096);
      });
    });

    it('are limited in number: beyond, files are refused, and those that are closed make room', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const slots: Slot[] = [];
        create(stage);
        const path = `${stage.world.directory}/file`;
        const open = (): void => void slots.push(engine.files.open(path, {}));
        while (slots.length < MAX_SLOTS - 1) open();
        expect(new Set(slots).size).toBe(MAX_SLOTS - 1);
        expect(codeOf(open)).toBe('ERR_LIMIT');
        expect(codeOf(open)).toBe('ERR_LIMIT');
        expect(yield stage.close(slots[77]!)).toBe(0);
        open();
        expect(codeOf(open)).toBe('ERR_LIMIT');
      });
    });
  });
  if (features.sockets) descriptorsContract(make, create);
}

function descriptorsContract(make: MakeWorld, create: (stage: Stage) => Slot): void {
  describe('slots of this process', () => {
    it('take over descriptors of this process, which are then theirs to close', async () => {
      await play(make, function* (stage) {
        const path = `${stage.world.directory}/file`;
        fs.writeFileSync(path, 'hello');
        const fd = fs.openSync(path, 'r');
        const slot = stage.engine.adopt(fd, 'file');
        expect(yield stage.read(slot, 0, 100, 0)).toBe(5);
        expect(Buffer.from(stage.bytes.subarray(0, 5)).toString()).toBe('hello');
        expect(yield stage.close(slot)).toBe(0);
        expect(codeOf(() => fs.fstatSync(fd))).toBe('EBADF');
        for (const bad of [-1, 1.5, NaN]) expect(codeOf(() => stage.engine.adopt(bad, 'file'))).toBe('ERR_ARGUMENT');
      });
    });

    it('run out: a connection that comes is refused with EMFILE, and so is one that goes', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const listener = engine.listen({ family: 'unix', path: `${stage.world.directory}/s` });
        const address = engine.localAddress(listener);
        const slots = [create(stage)];
        const path = `${stage.world.directory}/file`;
        while (slots.length < MAX_SLOTS - 2) slots.push(engine.files.open(path, {}));
        // One slot is free: of the two ends, one finds none.
        const accepted = stage.accept(listener);
        const connected = stage.connect(address);
        const results = yield* stage.all([accepted, connected]);
        expect(results.filter(result => result === -errno.EMFILE)).toHaveLength(1);
        expect(yield stage.connect(address)).toBe(-errno.EMFILE);
        expect(engine.outstanding).toBe(0);
        expect(yield stage.close(slots[5]!)).toBe(0);
        expect(yield stage.connect(address)).toBe(slots[5]);
      });
    });
  });
}
