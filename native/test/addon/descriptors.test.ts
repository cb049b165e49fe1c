import fc from 'fast-check';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon, type NativeRing } from '../../src/addon.js';
import { createArena } from '../../src/arena.js';
import { MAX_SLOTS } from '../../src/engine.js';
import { Op } from '../../src/op-table.js';
import { codeOf } from '../contract/stage.js';

// Past TypeScript: what the addon itself refuses. Descriptors are written by hand, as a bug would write them.

const WORDS = 10;
const ARENA_BYTES = 1 << 20;
const CANARY = 0xee;
/** Word of a descriptor, of the control block (addon/ring.h). */
const Word = {
  kind: 0,
  slot: 1,
  offset: 2,
  length: 3,
  fileLow: 4,
  fileHigh: 5,
  flags: 6,
  operation: 7,
  gather: 8,
  gatherCount: 9,
} as const;
const Control = { count: 0, waitLow: 1, waitHigh: 2, completed: 3, spinNs: 4, submitOnly: 5 } as const;
const FILE_SLOT = 3;

type Descriptor = Partial<Record<keyof typeof Word, number>>;

describe('the addon, past TypeScript', () => {
  const addon = loadAddon()!;
  const arena = createArena(ARENA_BYTES);
  const other = createArena(ARENA_BYTES);
  const directory = fs.mkdtempSync(join(tmpdir(), 'ue-'));
  let ring: NativeRing;
  let descriptors: Int32Array;
  let gather: Uint32Array;
  let control: Int32Array;
  let completions: Int32Array;
  let fd: number;

  beforeAll(() => {
    ring = addon.ringCreate(arena.handle.id, MAX_SLOTS);
    descriptors = new Int32Array(ring.descriptors);
    gather = new Uint32Array(ring.gather);
    control = new Int32Array(ring.control);
    completions = new Int32Array(ring.completions);
    fd = fs.openSync(join(directory, 'file'), 'w+');
    fs.writeSync(fd, new Uint8Array(ARENA_BYTES).fill(0x11));
    ring.setSlot(FILE_SLOT, fd);
    arena.bytes.fill(CANARY);
    other.bytes.fill(CANARY);
  });
  afterAll(() => {
    ring.destroy();
    fs.closeSync(fd);
    fs.rmSync(directory, { recursive: true });
  });

  function put(index: number, descriptor: Descriptor): void {
    descriptors.fill(0, index * WORDS, (index + 1) * WORDS);
    for (const [name, value] of Object.entries(descriptor)) descriptors[index * WORDS + Word[name as keyof typeof Word]] = value;
  }

  /** Gives the descriptors to the kernel; the results of all that completes within a time. */
  function submit(...list: readonly Descriptor[]): [operation: number, result: number][] {
    list.forEach((descriptor, index) => put(index, descriptor));
    control[Control.count] = list.length;
    control[Control.waitLow] = control[Control.waitHigh] = 0;
    const results: [number, number][] = [];
    ring.enter();
    const take = (): void => {
      for (let i = 0; i < control[Control.completed]!; i++) results.push([completions[i * 2]!, completions[i * 2 + 1]!]);
    };
    take();
    control[Control.count] = 0;
    for (let tries = 0; results.length < list.length && tries < 100; tries++) {
      control[Control.waitLow] = 10e6;
      ring.enter();
      take();
    }
    return results;
  }

  function waitFor(count: number): [number, number][] {
    const results: [number, number][] = [];
    control[Control.count] = 0;
    control[Control.waitLow] = 10e6;
    for (let tries = 0; results.length < count && tries < 100; tries++) {
      ring.enter();
      for (let i = 0; i < control[Control.completed]!; i++) results.push([completions[i * 2]!, completions[i * 2 + 1]!]);
    }
    return results;
  }

  /** Nothing of it is submitted, nothing is left to be. */
  function isRefused(...list: readonly Descriptor[]): void {
    expect(
      codeOf(() => submit(...list)),
      JSON.stringify(list),
    ).toBe('ERR_ARENA_BOUNDS');
    expect(submit()).toEqual([]);
  }

  const read = (offset: number, length: number): Descriptor => ({ kind: Op.read, slot: FILE_SLOT, offset, length, operation: 1 });

  it('carries out what is right, to the last byte', () => {
    expect(submit(read(ARENA_BYTES - 10, 10))).toEqual([[1, 10]]);
    expect(arena.bytes.subarray(ARENA_BYTES - 10).every(byte => byte === 0x11)).toBe(true);
    arena.bytes.fill(CANARY, ARENA_BYTES - 10);
  });

  it.each([Op.read, Op.write, Op.recv])('refuses memory outside the arena: operation %i', kind => {
    const ranges = [
      [ARENA_BYTES - 10, 11],
      [ARENA_BYTES, 1],
      [-1, 1],
      [-4096, 4096],
      [0, ARENA_BYTES + 1],
      [0, -1],
      [1, -1],
      [-1, -1],
      [0, 0],
      [0x7fff_ffff, 0x7fff_ffff],
      [-0x8000_0000, -0x8000_0000],
    ] as const;
    for (const [offset, length] of ranges) isRefused({ ...read(offset, length), kind });
    expect(fs.fstatSync(fd).size).toBe(ARENA_BYTES);
  });

  it('refuses slots that are not open, or none', () => {
    for (const slot of [0, FILE_SLOT + 1, -1, MAX_SLOTS, MAX_SLOTS - 1, 0x7fff_ffff, -0x8000_0000]) {
      for (const kind of Object.values(Op).filter(one => one !== Op.wake && one !== Op.close)) isRefused({ ...read(0, 10), kind, slot });
    }
  });

  it('refuses operations that there are none of, and numbers that stand for something else', () => {
    for (const kind of [0, -1, Op.close, 12, 13, 255, 256, 0x7fff_ffff]) isRefused({ ...read(0, 10), kind });
    for (const operation of [-1, -2, -0x8000_0000]) isRefused({ ...read(0, 10), operation });
  });

  it('refuses gather lists outside the arena or outside the list of lists', () => {
    const send: Descriptor = { kind: Op.send, slot: FILE_SLOT, operation: 2, gather: 0, gatherCount: 1 };
    gather.set([0, 10, 20, 10, ARENA_BYTES - 5, 10]);
    isRefused({ ...send, gather: 2 });
    isRefused({ ...send, gatherCount: 3 });
    for (const gatherCount of [0, 1025, -1, 0x7fff_ffff]) isRefused({ ...send, gatherCount });
    for (const start of [32_768, 32_767 - 1000, -1, 0x7fff_ffff, -0x8000_0000]) isRefused({ ...send, gather: start, gatherCount: 1_024 });
    gather.set([0, 0]);
    isRefused(send);
  });

  it('keeps a list that is submitted whole when the next one for that slot is refused', () => {
    const [near, far] = socketPair(addon, directory);
    ring.setSlot(10, near);
    gather.set([0, 100, 200, 100, 400, 100]);
    // Long enough to make a vector of three grow.
    for (let i = 3; i < 1_000; i++) gather.set([i === 999 ? ARENA_BYTES : i * 1000, 10], i * 2);
    const good: Descriptor = { kind: Op.send, slot: 10, operation: 5, gather: 0, gatherCount: 3 };
    put(0, good);
    put(1, { ...good, operation: 6, gatherCount: 1_000 });
    control[Control.count] = 2;
    expect(codeOf(() => ring.enter())).toBe('ERR_ARENA_BOUNDS');
    arena.bytes.fill(1, 0, 100).fill(2, 200, 300).fill(3, 400, 500);
    expect(waitFor(1)).toEqual([[5, 300]]);
    const received = Buffer.alloc(1_000);
    expect(fs.readSync(far, received)).toBe(300);
    expect([received[0], received[99], received[100], received[199], received[200], received[299]]).toEqual([1, 1, 2, 2, 3, 3]);
    ring.clearSlot(10);
    fs.closeSync(near);
    fs.closeSync(far);
    arena.bytes.fill(CANARY);
  });

  it('carries out what stands before a descriptor that it refuses', () => {
    expect(codeOf(() => submit(read(0, 16), read(ARENA_BYTES, 1), read(64, 16)))).toBe('ERR_ARENA_BOUNDS');
    expect(waitFor(1)).toEqual([[1, 16]]);
    expect(arena.bytes.subarray(0, 16).every(byte => byte === 0x11)).toBe(true);
    expect(arena.bytes.subarray(16).every(byte => byte === CANARY)).toBe(true);
    arena.bytes.fill(CANARY);
  });

  it('takes no more descriptors than there are, whatever the count says', () => {
    for (let i = 0; i < 4096; i++) put(i, { ...read(0, 1), operation: i });
    control[Control.count] = -1;
    ring.enter();
    let completed = control[Control.completed]!;
    control[Control.count] = 0;
    for (let tries = 0; completed < 4096 && tries < 1_000; tries++) {
      control[Control.waitLow] = 1e6;
      ring.enter();
      completed += control[Control.completed]!;
    }
    expect(completed).toBe(4096);
    arena.bytes.fill(CANARY, 0, 1);
  });

  it('refuses slots and connections outside the table', () => {
    for (const slot of [MAX_SLOTS, -1, NaN, 2 ** 40, -(2 ** 40)]) {
      expect(codeOf(() => ring.setSlot(slot, fd))).toBe('ERR_SLOT');
      expect(codeOf(() => ring.clearSlot(slot))).toBe('ERR_SLOT');
    }
    for (const slot of [MAX_SLOTS, 0xffff_ffff]) expect(codeOf(() => ring.prepareConnect(slot, '', '127.0.0.1', 1))).toBe('ERR_SLOT');
  });

  it('makes no ring over an arena that there is not, and no arena without a size', () => {
    for (const id of [-1, 255, 1e9, NaN]) {
      expect(codeOf(() => addon.ringCreate(id, 16))).toBe('ERR_ARGUMENT');
      expect(codeOf(() => addon.arenaAttach(id))).toBe('ERR_ARGUMENT');
    }
    for (const bytes of [0, -1, NaN, 2 ** 32, 2 ** 40]) expect(codeOf(() => addon.arenaCreate(bytes))).toBe('ERR_ARGUMENT');
  });

  it('stays within the arena whatever the words are', () => {
    const anyWord = fc.oneof(fc.integer(), fc.integer({ min: -2, max: ARENA_BYTES + 2 }), fc.integer({ min: 0, max: 4096 }));
    const property = fc.property(
      fc.constantFrom(Op.read, Op.write, Op.recv, Op.send),
      anyWord,
      anyWord,
      anyWord,
      (kind, offset, length, fileLow) => {
        gather.set([offset, length, 0, 1]);
        const isInside = offset >= 0 && length > 0 && offset + length <= ARENA_BYTES;
        const descriptor = { kind, slot: FILE_SLOT, offset, length, fileLow, fileHigh: 0, operation: 9, gather: 0, gatherCount: 1 };
        if (!isInside) return isRefused(descriptor);
        const [result] = submit(descriptor);
        if (kind === Op.read) expect(result).toEqual([9, Math.max(0, Math.min(length, fs.fstatSync(fd).size - (fileLow >>> 0)))]);
        const end = offset + length;
        const canary = Buffer.alloc(ARENA_BYTES, CANARY);
        const bytes = Buffer.from(arena.bytes.buffer, arena.bytes.byteOffset, ARENA_BYTES);
        expect(bytes.compare(canary, 0, offset, 0, offset)).toBe(0);
        expect(bytes.compare(canary, 0, ARENA_BYTES - end, end, ARENA_BYTES)).toBe(0);
        arena.bytes.fill(CANARY, offset, end);
      },
    );
    fc.assert(property, { numRuns: 1_000 });
    // Neither has anything else of this process been written to that looks like the arena.
    expect(other.bytes.every(byte => byte === CANARY)).toBe(true);
  });

  it('makes the file of a socket with the mode that it gets', () => {
    // Before the call returns: nobody could have connected in between.
    const umask = process.umask(0);
    const path = join(directory, 'mode');
    const listener = addon.listen(path, '', 0, 1, 0o640);
    process.umask(umask);
    expect(fs.statSync(path).mode & 0o777).toBe(0o640);
    fs.closeSync(listener);
  });

  it('has an arena between pages that nothing may touch', () => {
    // A size that nothing else has.
    const bytes = 1_237 * 4096;
    const { bytes: memory } = createArena(bytes);
    memory.fill(1);
    const mappings = fs.readFileSync('/proc/self/maps', 'utf8').split('\n').map(parseMapping);
    const index = mappings.findIndex(one => one !== null && one.end - one.start === BigInt(bytes) && one.access === 'rw-p');
    expect(index).toBeGreaterThan(0);
    const [before, arenaMapping, after] = mappings.slice(index - 1, index + 2);
    expect([before!.access, after!.access]).toEqual(['---p', '---p']);
    expect([before!.end, after!.start]).toEqual([arenaMapping!.start, arenaMapping!.end]);
  });

  it('refuses everything when the ring is destroyed', () => {
    const second = addon.ringCreate(arena.handle.id, 16);
    second.destroy();
    second.destroy();
    expect(codeOf(() => second.enter())).toBe('ERR_SLOT');
  });
});

function parseMapping(line: string): { start: bigint; end: bigint; access: string } | null {
  const match = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line);
  return match === null ? null : { start: BigInt(`0x${match[1]}`), end: BigInt(`0x${match[2]}`), access: match[3]! };
}

/** Two connected sockets. */
function socketPair(addon: NonNullable<ReturnType<typeof loadAddon>>, directory: string): [near: number, far: number] {
  const path = join(directory, 'pair');
  const listener = addon.listen(path, '', 0, 1, 0o600);
  const arena = createArena(4096);
  const ring = addon.ringCreate(arena.handle.id, 16);
  const near = ring.prepareConnect(1, path, '', 0);
  ring.setSlot(0, listener);
  ring.setSlot(1, near);
  const descriptors = new Int32Array(ring.descriptors);
  const completions = new Int32Array(ring.completions);
  const control = new Int32Array(ring.control);
  descriptors.set([Op.connect, 1], 0);
  descriptors.set([Op.accept, 0, 0, 0, 0, 0, 0, 7], WORDS);
  control[Control.count] = 2;
  let far = -1;
  for (let tries = 0; far < 0 && tries < 100; tries++) {
    control[Control.waitLow] = 10e6;
    ring.enter();
    control[Control.count] = 0;
    for (let i = 0; i < control[Control.completed]!; i++) if (completions[i * 2] === 7) far = completions[i * 2 + 1]!;
  }
  for (const slot of [0, 1]) ring.clearSlot(slot);
  ring.destroy();
  fs.closeSync(listener);
  return [near, far];
}
