import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { missingNote, missingPrograms } from '../../../../test/support/programs.js';
import { check } from '../../../../test/support/process.js';
import type { FileExportOptions } from '../../src/index.js';
import { RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';
import { Cmd, Errno, Flag, Has, MIB, openSession, type Session } from '../support/session.js';

const SIZE = 16 * MIB;
const ALLOCATION = 'base:allocation';
const DEPTH = 'qemu:allocation-depth';
const missing = missingPrograms('nbdinfo', 'qemu-img', 'qemu-io');

describe.each(ENGINES)('a file as an export, %s', engine => {
  let directory: string;
  let path: string;
  let server: TestServer;
  const clients: RawClient[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'nbd-file-'));
    path = join(directory, 'disk.img');
    writeFileSync(path, '');
    truncateSync(path, SIZE);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  async function serve(options: Partial<FileExportOptions> = {}): Promise<void> {
    server = await TestServer.start({ engine, memory: [], files: [{ name: 'file', path, ...options }] });
  }

  async function session(contexts?: readonly string[]): Promise<Session> {
    const client = await RawClient.connect(server.socketPath);
    clients.push(client);
    await client.begin();
    return openSession(client, 'file', contexts === undefined ? {} : { contexts });
  }

  const write = (offset: number, length: number, byte = 7) => ({ type: Cmd.write, offset, payload: Buffer.alloc(length, byte) });

  test('what is data and what is a hole, as the file system has it: of the whole, of a part, of one extent, and as a depth', async () => {
    await serve({ allocationDepth: true });
    const one = await session([ALLOCATION, DEPTH]);
    const ids = [one.contexts.get(ALLOCATION)!, one.contexts.get(DEPTH)!];
    const ask = async (offset: number, length: number, flags = 0): Promise<unknown> => {
      const { errno, status } = await one.perform({ type: Cmd.status, offset, length, flags });
      expect(errno).toBe(0);
      return ids.map(id => status.get(id));
    };
    expect(await ask(0, SIZE)).toEqual([[[SIZE, 3]], [[SIZE, 0]]]);
    for (const request of [write(MIB, 65_536), write(3 * MIB + 100, 10), { type: Cmd.trim, offset: MIB + 4096, length: 8192 }])
      expect(await one.errno(request)).toBe(0);
    const lengths = [MIB, 4096, 8192, 53_248, 2 * MIB - 65_536, 4096, SIZE - 3 * MIB - 4096];
    const pairs = (data: number, hole: number): number[][] => lengths.map((length, i) => [length, i % 2 === 0 ? hole : data]);
    expect(await ask(0, SIZE)).toEqual([pairs(0, 3), pairs(1, 0)]);
    expect(await ask(MIB + 512, 8192)).toEqual([
      [
        [3584, 0],
        [4608, 3],
      ],
      [
        [3584, 1],
        [4608, 0],
      ],
    ]);
    expect(await ask(MIB, SIZE - MIB, Flag.one)).toEqual([[[4096, 0]], [[4096, 1]]]);
    expect(await ask(3 * MIB, 4096)).toEqual([[[4096, 0]], [[4096, 1]]]);
  });

  test('extents are multiples of the minimum block: a block that is data in part is data', async () => {
    await serve({ blockSize: { minimumBytes: 65_536, preferredBytes: 65_536, maximumBytes: 32 * MIB } });
    // By somebody else: a client could not write so little.
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.alloc(4096, 5), 0, 4096, 2 * MIB + 8192);
    closeSync(file);
    const one = await session([ALLOCATION]);
    const { status } = await one.perform({ type: Cmd.status, length: SIZE });
    expect([...status.values()]).toEqual([
      [
        [2 * MIB, 3],
        [65_536, 0],
        [SIZE - 2 * MIB - 65_536, 3],
      ],
    ]);
  });

  test('is resized: the file has that length, other connections learn of it, what was cut off is gone', async () => {
    await serve({ maxSizeBytes: SIZE + MIB });
    const [one, other] = [await session(), await session()];
    expect(one.has(Has.resize)).toBe(true);
    expect(await one.errno(write(SIZE, 4096))).toBe(Errno.noSpace);
    expect(await one.errno({ type: Cmd.resize, offset: SIZE + MIB })).toBe(0);
    expect(statSync(path).size).toBe(SIZE + MIB);
    expect(await other.errno(write(SIZE, 4096))).toBe(0);
    expect(await one.errno({ type: Cmd.resize, offset: SIZE + MIB + 1 })).toBe(Errno.noSpace);
    expect(await other.errno({ type: Cmd.resize, offset: SIZE })).toBe(0);
    expect(await one.errno({ type: Cmd.read, offset: SIZE, length: 512 })).toBe(Errno.invalid);
    expect(await one.errno({ type: Cmd.resize, offset: SIZE + 4096 })).toBe(0);
    expect((await other.perform({ type: Cmd.read, offset: SIZE, length: 4096 })).data).toEqual(Buffer.alloc(4096));
    expect((await session()).sizeBytes).toBe(SIZE + 4096);
    expect(readFileSync(path).length).toBe(SIZE + 4096);
  });

  test('is cut short behind the writes that came before; what comes after it fails beyond the new end: no write lengthens the file again', async () => {
    await serve({ maxSizeBytes: SIZE });
    const one = await session();
    const count = 16;
    for (let round = 0; round < 4; round++) {
      // Durable ones take a while: they are under way when the file is to be cut, and those behind it wait.
      const writes = (): bigint[] =>
        Array.from({ length: count }, (_, i) => one.send({ ...write(i * (SIZE / count), 4096, 1 + i), flags: Flag.fua }));
      const before = writes();
      const cut = one.send({ type: Cmd.resize, offset: SIZE / 2 });
      const after = writes();
      const answers = await one.answers(2 * count + 1);
      const errnoOf = (cookie: bigint): number => answers.find(answer => answer.cookie === cookie)!.errno;
      expect(before.map(errnoOf)).toEqual(before.map(() => 0));
      expect(errnoOf(cut)).toBe(0);
      expect(after.map(errnoOf)).toEqual(after.map((_, i) => (i < count / 2 ? 0 : Errno.noSpace)));
      expect(statSync(path).size).toBe(SIZE / 2);
      expect(await one.errno({ type: Cmd.resize, offset: SIZE })).toBe(0);
    }
  });

  test('of fixed size, or read-only, is not resized', async () => {
    await serve();
    const one = await session();
    expect(one.has(Has.resize)).toBe(false);
    expect(await one.errno({ type: Cmd.resize, offset: MIB })).toBe(Errno.invalid);
    expect(statSync(path).size).toBe(SIZE);
  });

  test.skipIf(missing.length > 0)(`nbdinfo and qemu-img see data, holes and depth${missingNote(missing)}`, async () => {
    await serve({ allocationDepth: true });
    await check(['qemu-io', '-f', 'raw', '-c', 'write -P 0x41 1M 64k', server.uri('file')]);
    const map = async (...flags: string[]): Promise<unknown> =>
      (
        JSON.parse(await check(['nbdinfo', '--json', ...flags, server.uri('file')])) as { offset: number; length: number; type: number }[]
      ).map(({ offset, length, type }) => [offset, length, type]);
    const rest = [MIB + 65_536, SIZE - MIB - 65_536];
    expect(await map('--map')).toEqual([
      [0, MIB, 3],
      [MIB, 65_536, 0],
      [...rest, 3],
    ]);
    expect(await map(`--map=${DEPTH}`)).toEqual([
      [0, MIB, 0],
      [MIB, 65_536, 1],
      [...rest, 0],
    ]);
    const seen = JSON.parse(await check(['qemu-img', 'map', '--output=json', '-f', 'raw', server.uri('file')])) as Record<
      string,
      unknown
    >[];
    expect(seen.map(({ start, length, zero, data }) => [start, length, zero, data])).toEqual([
      [0, MIB, true, false],
      [MIB, 65_536, false, true],
      [...rest, true, false],
    ]);
  });
});
