import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { MetaServer } from '../../src/meta/wire-server.js';
import { WireStore } from '../../src/meta/wire-store.js';
import { encodeControl } from '../../src/wire/control.js';
import { FrameType } from '../../src/wire/frame.js';
import { MAX_META_REQUESTS, MAX_META_WATCHES } from '../../src/wire/limits.js';
import { MemoryMetadata } from './memory-metadata.js';

let directory: string;
let socketPath: string;
let far: MemoryMetadata;
let server: MetaServer;
const stores: WireStore[] = [];

async function serve(): Promise<void> {
  server = new MetaServer({ store: far, software: 'test', log: silentLogger });
  await server.listen(socketPath);
}

function open(requestTimeoutMs = 5_000): WireStore {
  const store = new WireStore({ socketPath, software: 'test', requestTimeoutMs });
  stores.push(store);
  return store;
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'gatepath-meta-'));
  socketPath = join(directory, 'meta.sock');
  far = new MemoryMetadata();
  await serve();
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

describe('metadata store over the wire', () => {
  it('gets, ranges and changes as the store behind it does', async () => {
    const store = open();
    expect(await store.get('a/1')).toBe(null);
    const first = await store.transaction([{ key: 'a/1', version: 0 }], [{ put: 'a/1', value: { n: 1, deep: ['x', null] } }]);
    expect(first).toEqual({ ok: true, version: 1 });
    expect(await store.transaction([{ key: 'a/1', version: 0 }], [{ put: 'a/1', value: 2 }])).toEqual({ ok: false });
    await store.transaction(
      [],
      [
        { put: 'a/2', value: 'two' },
        { put: 'b', value: 3 },
      ],
    );
    expect((await store.range('a/')).items).toEqual([
      { key: 'a/1', value: { n: 1, deep: ['x', null] }, version: 1 },
      { key: 'a/2', value: 'two', version: 2 },
    ]);
    await store.transaction([], [{ remove: 'a/1' }]);
    expect(await store.get('a/1')).toBe(null);
  });

  it('carries large ranges and many requests at once', async () => {
    const store = open();
    for (let i = 0; i < 30; i++) await far.put(`v/${String(i).padStart(2, '0')}`, 'x'.repeat(100_000));
    expect((await store.range('v/')).items.length).toBe(30);
    const values = await Promise.all(Array.from({ length: 200 }, (_, i) => store.get(`v/${String(i % 30).padStart(2, '0')}`)));
    expect(values.every(item => (item?.value as string).length === 100_000)).toBe(true);
  });

  it('says so when an answer is too large', async () => {
    for (let i = 0; i < 9; i++) await far.put(`v/${i}`, 'x'.repeat(1_000_000));
    await expect(open().range('v/')).rejects.toThrow('bytes are more than');
  });

  it('tells watches of changes under their prefix, and of none after close', async () => {
    const store = open();
    const listener = vi.fn();
    const watch = store.watch('a/', listener);
    await store.get('x');
    await far.put('a/1', 1);
    await far.put('b/1', 1);
    await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: false, keys: ['a/1'] }]]));
    watch.close();
    await store.get('x');
    expect(far.watches.size).toBe(0);
  });

  it('waits for a server that is not there yet, or comes back, and tells watches of the break', async () => {
    const store = open();
    const listener = vi.fn();
    store.watch('a/', listener);
    await store.get('x');
    await server.close();
    const asked = store.get('a/1');
    await far.put('a/1', 'meanwhile');
    await delay(50);
    await serve();
    expect((await asked)?.value).toBe('meanwhile');
    expect(listener.mock.calls).toEqual([[{ broken: true }]]);
    await far.put('a/2', 1);
    await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: true }], [{ broken: false, keys: ['a/2'] }]]));
  });

  it('asks reads again after a break, and gives a transaction of unknown outcome back', async () => {
    const store = open();
    await store.get('x');
    far.gate = () => new Promise(() => undefined);
    const read = store.get('a');
    const changed = store.transaction([], [{ put: 'a', value: 1 }]);
    const outcome = changed.catch((error: unknown) => error);
    await vi.waitFor(() => expect(far.transactions).toBe(1));
    far.gate = () => Promise.resolve();
    await server.close();
    await serve();
    const error = (await outcome) as MetaUnavailable;
    expect(error).toBeInstanceOf(MetaUnavailable);
    expect(error.message).toContain('unknown');
    expect((await read)?.value).toBe(1);
    // Not sent a second time.
    expect(far.transactions).toBe(1);
  });

  it('rejects with MetaUnavailable and what to check when nobody answers', async () => {
    await server.close();
    await expect(open(50).get('a')).rejects.toThrow('is the Stargate running?');
    await serve();
    far.gate = () => new Promise(() => undefined);
    await expect(open(50).get('a')).rejects.toBeInstanceOf(MetaUnavailable);
  });

  it('passes on that the store behind is not available', async () => {
    far.available = false;
    await expect(open().get('a')).rejects.toBeInstanceOf(MetaUnavailable);
  });

  it('survives more waiting than one connection may take: what was sent is unknown, what was not is sent again', async () => {
    await server.close();
    const store = open(20_000);
    const value = 'x'.repeat(250_000);
    const waiting = Array.from({ length: 160 }, (_, i) => store.transaction([], [{ put: `v/${i}`, value }]));
    const reads = Array.from({ length: 20 }, () => store.get('v/0'));
    const settled = Promise.allSettled(waiting);
    await serve();
    const outcomes = await settled;
    for (const one of outcomes) if (one.status === 'rejected') expect(one.reason).toBeInstanceOf(MetaUnavailable);
    for (const [i, one] of outcomes.entries()) if (one.status === 'fulfilled') expect(far.items.has(`v/${i}`)).toBe(true);
    await Promise.all(reads);
    expect((await store.transaction([], [{ put: 'w', value: 1 }])).ok).toBe(true);
  });

  it('bounds what waits and what is watched', async () => {
    const store = open();
    await store.get('a');
    const listener = vi.fn();
    const watches = Array.from({ length: MAX_META_WATCHES }, () => store.watch('a', listener));
    expect(() => store.watch('a', listener)).toThrow(`at most ${MAX_META_WATCHES}`);
    watches[0]!.close();
    store.watch('a', listener);
    await store.get('a');
    await far.put('a', 1);
    await vi.waitFor(() => expect(listener).toHaveBeenCalledTimes(MAX_META_WATCHES));
    far.gate = () => delay(50);
    const asked = Array.from({ length: MAX_META_REQUESTS }, () => store.get('a'));
    await expect(store.get('a')).rejects.toBeInstanceOf(MetaUnavailable);
    // The server takes as many from one client.
    expect((await Promise.all(asked)).length).toBe(MAX_META_REQUESTS);
  });

  it('asks again for a watch that the server could not begin', async () => {
    const store = open();
    await store.get('a');
    const watch = far.watch.bind(far);
    far.watch = () => {
      throw new Error('not now');
    };
    const listener = vi.fn();
    store.watch('a/', listener);
    await delay(30);
    far.watch = watch;
    await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: true }]]), 5_000);
    await far.put('a/1', 1);
    await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: true }], [{ broken: false, keys: ['a/1'] }]]));
  });

  it('rejects what waits when it is closed', async () => {
    far.gate = () => new Promise(() => undefined);
    const store = open();
    const asked = store.get('a').catch((error: unknown) => error);
    await store.close();
    expect(await asked).toBeInstanceOf(MetaUnavailable);
    await expect(store.get('a')).rejects.toBeInstanceOf(MetaUnavailable);
  });
});

describe('metadata store over several endpoints', () => {
  let second: MetaServer;
  let secondPath: string;

  beforeEach(async () => {
    secondPath = join(directory, 'second.sock');
    second = new MetaServer({ store: far, software: 'test', log: silentLogger });
    await second.listen(secondPath);
  });
  afterEach(() => second.close());

  function openBoth(first = socketPath, requestTimeoutMs = 5_000): WireStore {
    const store = new WireStore({ socketPath: first, others: [{ path: secondPath }], software: 'test', requestTimeoutMs });
    stores.push(store);
    return store;
  }

  it('goes on at the second when the first goes, tells watches, and comes back when the second goes', async () => {
    const store = openBoth();
    const listener = vi.fn();
    store.watch('a/', listener);
    await store.get('x');
    expect(store.endpoint).toBe(socketPath);
    await server.close();
    await far.put('a/1', 1);
    expect((await store.get('a/1'))?.value).toBe(1);
    expect(store.endpoint).toBe(secondPath);
    expect(listener.mock.calls).toEqual([[{ broken: true }]]);
    await far.put('a/2', 1);
    await vi.waitFor(() => expect(listener.mock.calls.length).toBe(2));
    await serve();
    await second.close();
    expect((await store.get('a/1'))?.value).toBe(1);
    expect(store.endpoint).toBe(socketPath);
    expect(listener.mock.calls.slice(2)).toEqual([[{ broken: true }]]);
    await second.listen(secondPath);
  });

  it('learns endpoints later', async () => {
    await server.close();
    const store = new WireStore({ socketPath, software: 'test' });
    stores.push(store);
    const asked = store.get('x');
    await delay(50);
    store.setOthers([{ path: join(directory, 'nobody.sock') }, { path: secondPath }]);
    expect(await asked).toBe(null);
    expect(store.endpoint).toBe(secondPath);
    await serve();
  });

  it.each(['takes connections and says nothing', 'greets and says nothing more'])('leaves one that %s', async how => {
    const hung = createServer(socket => {
      if (how.startsWith('greets'))
        socket.write(encodeControl(FrameType.helloReply, { version: 1, software: '', maxRequests: 1, maxBytes: 1 }));
      socket.resume();
    });
    const hungPath = join(directory, 'hung.sock');
    await new Promise<void>(resolve => hung.listen(hungPath, resolve));
    const store = openBoth(hungPath);
    expect(await store.get('a')).toBe(null);
    expect(store.endpoint).toBe(secondPath);
    await new Promise(resolve => hung.close(resolve));
  });

  it('does not leave one whose store only takes long', async () => {
    far.gate = () => delay(3_500);
    const store = openBoth();
    expect(await store.get('a')).toBe(null);
    expect(store.endpoint).toBe(socketPath);
  });

  it('leaves one whose store is not available', async () => {
    const cut = new MemoryMetadata();
    cut.available = false;
    const cutPath = join(directory, 'cut.sock');
    const third = new MetaServer({ store: cut, software: 'test', log: silentLogger });
    await third.listen(cutPath);
    const store = openBoth(cutPath);
    for (let i = 0; i < 3; i++) await expect(store.get('a')).rejects.toBeInstanceOf(MetaUnavailable);
    expect(await store.get('a')).toBe(null);
    expect(store.endpoint).toBe(secondPath);
    await third.close();
  });
});

describe('metadata socket', () => {
  it('that a killed process left behind is replaced; one in use is not', async () => {
    const left = join(directory, 'left.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(left)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(existsSync(left)).toBe(true);
    const other = new MetaServer({ store: far, software: 'test', log: silentLogger });
    await other.listen(left);
    expect(statSync(left).mode & 0o777).toBe(0o600);
    const third = new MetaServer({ store: far, software: 'test', log: silentLogger });
    await expect(third.listen(left)).rejects.toMatchObject({ code: 'ERR_ADDRESS_IN_USE' });
    await other.close();
    await expect(third.listen(join(directory, 'x'.repeat(120)))).rejects.toMatchObject({ code: 'ERR_PATH_TOO_LONG' });
  });
});

describe('metadata server: hostile clients', () => {
  const hello = encodeControl(FrameType.hello, { versionMin: 1, versionMax: 1, role: 'tool', software: '' });
  const request = (message: unknown): Uint8Array => encodeControl(FrameType.metaRequest, message, 1);

  it.each<[string, Uint8Array]>([
    ['no frame', new Uint8Array(200).fill(3)],
    ['a request before hello', request({ kind: 'get', key: 'a' })],
    ['an unknown request', Buffer.concat([hello, request({ kind: 'drop', key: 'a' })])],
    ['a key with a NUL', Buffer.concat([hello, request({ kind: 'get', key: 'a\0' })])],
    ['a key of 2,000 characters', Buffer.concat([hello, request({ kind: 'get', key: 'a'.repeat(2_000) })])],
    ['an unknown version', encodeControl(FrameType.hello, { versionMin: 9, versionMax: 9, role: 'tool', software: '' })],
  ])('%s closes that connection only', async (_, bytes) => {
    const store = open();
    await store.get('a');
    const socket = connect(socketPath);
    const closed = new Promise(resolve => socket.on('close', resolve));
    socket.resume();
    socket.write(bytes);
    await closed;
    expect(await store.get('a')).toBe(null);
  });
});
