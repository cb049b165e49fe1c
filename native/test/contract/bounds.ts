import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_TRANSFER_BYTES } from '../../src/engine.js';
import { Gather } from '../../src/gather.js';
import { codeOf, play, Stage } from './stage.js';
import { ARENA_BYTES, type MakeWorld } from './world.js';

const BAD_RANGES: readonly (readonly [offset: number, lengthBytes: number])[] = [
  [ARENA_BYTES - 5, 10],
  [ARENA_BYTES, 1],
  [-1, 10],
  [-4096, 8192],
  [0, ARENA_BYTES + 1],
  [0, 0],
  [0, -1],
  [1, 2 ** 32],
  [2 ** 32, 1],
  [2 ** 32 - 10, 20],
  [-(2 ** 32), 10],
  [2 ** 53, 10],
  [0.5, 10],
  [0, 10.5],
  [NaN, 10],
  [0, NaN],
  [Infinity, 10],
  [0, Infinity],
  [-Infinity, Infinity],
];

const BAD_FILE_RANGES: readonly (readonly [atBytes: number, lengthBytes: number])[] = [
  [-1, 10],
  [0.5, 10],
  [NaN, 10],
  [Infinity, 10],
  [2 ** 53, 10],
  [2 ** 53 - 5, 10],
];

/** Whatever numbers an operation is given: it throws, or stays within the range that it names. */
export function boundsContract(make: MakeWorld): void {
  describe('bounds', () => {
    it('of the arena: an operation outside throws, and nothing of it is left', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const slot = engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
        const sockets = stage.world.features.sockets
          ? yield* stage.pair(engine.listen({ family: 'unix', path: `${stage.world.directory}/s` }))
          : [];
        for (const [offset, length] of BAD_RANGES) {
          const what = `${length} bytes at ${offset}`;
          expect(
            codeOf(() => engine.read(slot, offset, length, 0, client, 0)),
            what,
          ).toBe('ERR_ARENA_BOUNDS');
          expect(
            codeOf(() => engine.write(slot, offset, length, 0, 0, client, 0)),
            what,
          ).toBe('ERR_ARENA_BOUNDS');
          for (const socket of sockets) {
            expect(
              codeOf(() => engine.recv(socket, offset, length, 0, client, 0)),
              what,
            ).toBe('ERR_ARENA_BOUNDS');
            // A bad range hides behind a good one.
            const gather = new Gather(2);
            gather.add(0, 4096);
            gather.offsets[1] = offset;
            gather.lengths[1] = length;
            gather.count = 2;
            if (gather.lengths[1] === length)
              expect(
                codeOf(() => engine.send(socket, gather, 0, client, 0)),
                what,
              ).toBe('ERR_ARENA_BOUNDS');
          }
        }
        expect(engine.outstanding).toBe(0);
        expect(engine.files.sizeBytes(slot)).toBe(0);
        // The last byte is inside.
        expect(yield stage.write(slot, ARENA_BYTES - 1, 1, 0)).toBe(1);
        expect(yield stage.read(slot, ARENA_BYTES - 1, 1, 0)).toBe(1);
        expect(yield stage.write(slot, 0, ARENA_BYTES, 0)).toBe(ARENA_BYTES);
        for (const socket of sockets) yield stage.close(socket);
      });
    });

    it('of files, flags and modes', async () => {
      await play(make, function* (stage) {
        const { engine, client } = stage;
        const slot = engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
        stage.bytes.fill(1, 0, 4096);
        expect(yield stage.write(slot, 0, 4096, 0)).toBe(4096);
        for (const [at, length] of BAD_FILE_RANGES) {
          const what = `${length} bytes at ${at} of the file`;
          expect(
            codeOf(() => engine.read(slot, 0, length, at, client, 0)),
            what,
          ).toBe('ERR_ARGUMENT');
          expect(
            codeOf(() => engine.write(slot, 0, length, at, 0, client, 0)),
            what,
          ).toBe('ERR_ARGUMENT');
          for (const mode of [0, 1, 3, 16])
            expect(
              codeOf(() => engine.allocate(slot, mode, at, length, client, 0)),
              what,
            ).toBe('ERR_ARGUMENT');
        }
        // A negative length must not become one of 4 GiB.
        for (const length of [0, -1, -4096, -(2 ** 32), 0.5, NaN, 2 ** 53]) {
          for (const mode of [0, 1, 3, 16]) expect(codeOf(() => engine.allocate(slot, mode, 0, length, client, 0))).toBe('ERR_ARGUMENT');
        }
        for (const mode of [-1, 2, 4, 5, 8, 17, 1.5, NaN, 2 ** 32])
          expect(codeOf(() => engine.allocate(slot, mode, 0, 10, client, 0))).toBe('ERR_ARGUMENT');
        for (const flags of [2, -1, 3, 0x8000_0000])
          expect(codeOf(() => engine.write(slot, 0, 10, 0, flags, client, 0))).toBe('ERR_ARGUMENT');
        expect(engine.outstanding).toBe(0);
        expect(yield stage.read(slot, 8192, 8192, 0)).toBe(4096);
        expect(stage.bytes.subarray(8192, 12_288).every(byte => byte === 1)).toBe(true);
      });
    });

    it('of gather lists', () => {
      const gather = new Gather(3);
      for (let i = 0; i < 3; i++) gather.add(i * 8192, 4096);
      expect(gather.hasRoom(1)).toBe(false);
      expect(codeOf(() => gather.add(100_000, 1))).toBe('ERR_ARGUMENT');
      // One that touches the last is no new piece.
      gather.add(2 * 8192 + 4096, 10);
      expect([gather.count, gather.totalBytes]).toEqual([3, 3 * 4096 + 10]);
      for (const length of [0, -1, NaN, MAX_TRANSFER_BYTES, 2 ** 32 + 5]) expect(codeOf(() => gather.add(0, length))).toBe('ERR_ARGUMENT');
      expect([gather.count, gather.totalBytes]).toEqual([3, 3 * 4096 + 10]);
      gather.clear();
      expect(gather.hasRoom(3)).toBe(true);
      gather.add(0, MAX_TRANSFER_BYTES - 10);
      for (const offset of [0, MAX_TRANSFER_BYTES - 10]) expect(codeOf(() => gather.add(offset, 11))).toBe('ERR_ARGUMENT');
      gather.add(0, 10);
      expect([gather.count, gather.totalBytes]).toEqual([2, MAX_TRANSFER_BYTES]);
      for (const capacity of [0, 1025, 1.5, NaN]) expect(codeOf(() => new Gather(capacity))).toBe('ERR_ARGUMENT');
    });

    it('hold for any numbers: what does not throw stays within its range', async () => {
      const world = make();
      const stage = new Stage(world);
      const { engine, bytes } = stage;
      const slot = engine.files.open(`${world.directory}/file`, { write: true, create: true });
      bytes.fill(CONTENT);
      engine.files.write(slot, 0, ARENA_BYTES, 0);
      bytes.fill(CANARY);
      const property = fc.asyncProperty(anyNumber, anyNumber, anyNumber, async (offset, length, at) => {
        if (!isInside(offset, length, at)) {
          const refusals = ['ERR_ARENA_BOUNDS', 'ERR_ARGUMENT'];
          expect(refusals).toContain(codeOf(() => engine.read(slot, offset, length, at, stage.client, 0)));
          expect(refusals).toContain(codeOf(() => engine.write(slot, offset, length, at, 0, stage.client, 0)));
          expect(refusals).toContain(codeOf(() => engine.files.read(slot, offset, length, at)));
          expect(engine.outstanding).toBe(0);
          return;
        }
        const expected = Math.max(0, Math.min(length, ARENA_BYTES - at));
        await stage.play(function* () {
          expect(yield stage.read(slot, offset, length, at)).toBe(expected);
        });
        checkAround(bytes, offset, expected);
        bytes.fill(CANARY, offset, offset + expected);
      });
      await fc.assert(property, { numRuns: 300 });
      world.close();
    });
  });
}

const CONTENT = 0x11;
const CANARY = 0xee;

const anyNumber = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: ARENA_BYTES }) },
  { weight: 1, arbitrary: fc.integer() },
  { weight: 1, arbitrary: fc.double() },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0, 1, -1, ARENA_BYTES, ARENA_BYTES - 1, 2 ** 31, 2 ** 32, 2 ** 32 - 1, -(2 ** 31), 2 ** 53, 2 ** 63),
  },
);

function isInside(offset: number, length: number, at: number): boolean {
  const inArena = Number.isInteger(offset) && Number.isInteger(length) && offset >= 0 && length > 0 && offset + length <= ARENA_BYTES;
  return inArena && Number.isSafeInteger(at) && at >= 0 && Number.isSafeInteger(at + length);
}

const allCanary = Buffer.alloc(ARENA_BYTES, CANARY);
const allContent = Buffer.alloc(ARENA_BYTES, CONTENT);

/** The whole arena holds the canary but for the range. */
function checkAround(bytes: Uint8Array, offset: number, length: number): void {
  const arena = Buffer.from(bytes.buffer, bytes.byteOffset, ARENA_BYTES);
  const end = offset + length;
  expect(arena.compare(allCanary, 0, offset, 0, offset), 'what lies before the range').toBe(0);
  expect(arena.compare(allContent, 0, length, offset, end), 'the range').toBe(0);
  expect(arena.compare(allCanary, 0, ARENA_BYTES - end, end, ARENA_BYTES), 'what lies behind the range').toBe(0);
}
