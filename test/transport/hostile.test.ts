import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { Gather } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { decodeControl, encodeControl } from '../../src/wire/control.js';
import { createHeader, decodeHeader, encodeHeader, FrameType, resetHeader, type FrameHeader } from '../../src/wire/frame.js';
import { errorMessage } from '../../src/wire/hello.js';
import { HEADER_BYTES, IDLE_CONNECTION_MS } from '../../src/wire/limits.js';
import { IoOp } from '../../src/wire/path.js';
import { Area, OpenPath, PathWorld, SERVING_PAGES, SOCKET, TestRequest } from './worlds.js';
import type { SimEngine } from './sim-engine.js';

/** A client that sends whatever bytes it likes. */
class RawClient {
  readonly received: number[] = [];
  closed = false;
  #slot = -1;
  #sending = false;
  #queue: Uint8Array[] = [];
  readonly #client: number;
  readonly #engine: SimEngine;
  reading = true;

  constructor(
    readonly world: PathWorld,
    private readonly area: number = Area.client,
  ) {
    this.#engine = world.network.engine();
    this.#client = this.#engine.register({ onCompletion: (tag, result) => this.#on(tag, result) });
    this.#engine.connect({ family: 'unix', path: SOCKET }, this.#client, 0);
    world.network.run(() => this.#slot >= 0, 'a connection');
  }

  send(...frames: Uint8Array[]): this {
    this.#queue.push(...frames);
    this.#pump();
    return this;
  }

  /** Runs until the server has closed the connection. */
  untilClosed(): this {
    this.world.network.run(() => this.closed, 'the server to close');
    return this;
  }

  /** Control frames received, decoded by type. */
  frames(): { header: FrameHeader; payload: Uint8Array }[] {
    const bytes = Uint8Array.from(this.received);
    const frames = [];
    for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
      const header = createHeader();
      expect(decodeHeader(new DataView(bytes.buffer), at, header)).toBe(null);
      frames.push({ header, payload: bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + header.payloadBytes) });
      at += HEADER_BYTES + header.payloadBytes;
    }
    return frames;
  }

  get errorCode(): string {
    const frame = this.frames().find(({ header }) => header.type === FrameType.error);
    return frame === undefined ? '' : decodeControl(errorMessage, frame.payload).code;
  }

  go(): void {
    this.#engine.shutdown(this.#slot);
  }

  #pump(): void {
    const next = this.#sending ? undefined : this.#queue.shift();
    if (next === undefined) return;
    this.#sending = true;
    const gather = new Gather();
    this.world.arena.set(next, this.area);
    gather.add(this.area, next.length);
    this.#engine.send(this.#slot, gather, 0, this.#client, 1);
  }

  read(): void {
    this.reading = true;
    this.#engine.recv(this.#slot, this.area + (4 << 20), 60_000, 0, this.#client, 2);
  }

  #on(tag: number, result: number): void {
    if (tag === 0) {
      this.#slot = result;
      this.read();
    } else if (tag === 1) {
      this.#sending = false;
      this.#pump();
    } else if (result <= 0) this.closed = true;
    else {
      const at = this.area + (4 << 20);
      this.received.push(...this.world.arena.subarray(at, at + result));
      if (this.reading) this.read();
    }
  }
}

const HELLO = encodeControl(FrameType.hello, { versionMin: 1, versionMax: 1, role: 'tool', software: 'hostile' });

function openFrame(world: PathWorld, shard = 7): Uint8Array {
  return encodeControl(FrameType.sessionOpen, { ...world.session(1, shard), datapathUuid: randomUUID() });
}

function io(fields: Partial<FrameHeader>, payload = new Uint8Array(0)): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  const header = resetHeader(createHeader(), FrameType.ioRequest);
  encodeHeader(new DataView(frame.buffer), 0, { ...header, clientSeq: 1, payloadBytes: payload.length, ...fields });
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** A session of another vdisk that goes on meanwhile. */
function bystander(world: PathWorld): { check: () => void } {
  const vdisk = world.store.add(randomUUID(), 1 << 20);
  const { path } = world.open({ ...world.session(1, 1), vdiskId: vdisk.id });
  let seq = 0;
  const check = (): void => {
    const request = new TestRequest();
    Object.assign(request, { op: IoOp.flush, clientSeq: ++seq });
    path!.submit(request);
    world.client.poke();
    world.network.run(() => request.answers === 1, 'the bystander');
  };
  check();
  return { check };
}

function allGiven(world: PathWorld): void {
  world.network.pass(100);
  expect(world.serving.freePages.length).toBe(SERVING_PAGES);
}

describe('hostile clients', () => {
  const spoiled = (spoil: (view: DataView) => void, frame = HELLO): Uint8Array => {
    const copy = Uint8Array.from(frame);
    spoil(new DataView(copy.buffer));
    return copy;
  };

  it.each<[string, string, (world: PathWorld) => Uint8Array[]]>([
    ['bad magic', 'ERR_FRAME_MAGIC', () => [spoiled(view => view.setUint32(0, 7))]],
    ['an HTTP request', 'ERR_FRAME_MAGIC', () => [new TextEncoder().encode(`GET / HTTP/1.1\r\nHost: x\r\n\r\n${' '.repeat(80)}`)]],
    ['an unknown type', 'ERR_FRAME_TYPE', () => [spoiled(view => view.setUint8(4, 99))]],
    ['a hello of 4 GiB', 'ERR_FRAME_LENGTH', () => [spoiled(view => view.setUint32(8, 0xffff_ffff, true))]],
    ['metadata of 8 MiB', 'ERR_FRAME_LENGTH', () => [HELLO, spoiled(view => (view.setUint8(4, 32), view.setUint32(8, 8 << 20, true)))]],
    ['garbage for a hello', 'ERR_WIRE_FORMAT', () => [spoiled(view => view.setUint8(HEADER_BYTES, 0xc1))]],
    ['a second hello', 'ERR_WIRE_ORDER', () => [HELLO, HELLO]],
    ['a session without hello', 'ERR_WIRE_ORDER', world => [openFrame(world)]],
    ['a session of no vdisk id', 'ERR_WIRE_FORMAT', () => [HELLO, encodeControl(FrameType.sessionOpen, { vdiskId: '../x', shard: 0 })]],
    ['I/O without session', 'ERR_WIRE_ORDER', () => [HELLO, io({ op: IoOp.read, lengthBytes: 512 })]],
    ['a heartbeat without session', 'ERR_WIRE_ORDER', () => [HELLO, io({ type: FrameType.heartbeat })]],
    ['an unknown op', 'ERR_IO_OP', world => [HELLO, openFrame(world), io({ op: 77, lengthBytes: 1 })]],
    ['a read of 1 GiB', 'ERR_IO_LENGTH', world => [HELLO, openFrame(world), io({ op: IoOp.read, lengthBytes: 1 << 30 })]],
    [
      'a write whose length lies',
      'ERR_IO_LENGTH',
      world => [HELLO, openFrame(world), io({ op: IoOp.write, lengthBytes: 4096 }, new Uint8Array(8))],
    ],
    [
      'an offset above 2^53',
      'ERR_FRAME_NUMBER',
      world => [HELLO, openFrame(world), spoiled(view => view.setUint32(44, 0xffff_ffff), io({ op: 0, lengthBytes: 1 }))],
    ],
    ['clientSeq 0', 'ERR_IO_SEQ', world => [HELLO, openFrame(world), io({ op: IoOp.flush, clientSeq: 0 })]],
    ['an answer', 'ERR_WIRE_ORDER', world => [HELLO, openFrame(world), io({ type: FrameType.ioReply })]],
  ])('%s is answered with %s and closes that connection only', (_, code, frames) => {
    const world = new PathWorld('unix', 5);
    const other = bystander(world);
    const client = new RawClient(world).send(...frames(world)).untilClosed();
    expect(client.errorCode).toBe(code);
    other.check();
    expect(world.server!.connections).toBe(1);
    allGiven(world);
  });

  it('an unknown version is answered with what to do', () => {
    const world = new PathWorld('unix', 5);
    const hello = encodeControl(FrameType.hello, { versionMin: 8, versionMax: 9, role: 'datapath', software: 'future' });
    const client = new RawClient(world).send(hello, openFrame(world)).untilClosed();
    expect(client.errorCode).toBe('ERR_WIRE_VERSION');
  });

  it('frames cut off anywhere, or any bytes at all, cost nothing but the connection', () => {
    const world = new PathWorld('unix', 9);
    const other = bystander(world);
    const good = (): Uint8Array[] => [
      HELLO,
      openFrame(world),
      io({ op: IoOp.write, lengthBytes: 40_000, clientSeq: 1 }, new Uint8Array(40_000)),
      io({ op: IoOp.read, lengthBytes: 60_000, clientSeq: 2 }),
    ];
    fc.assert(
      fc.property(fc.nat(42_000), fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { maxLength: 2 }), (cut, spoils) => {
        const bytes = Buffer.concat(good());
        for (const [at, value] of spoils) bytes[at] = value;
        const client = new RawClient(world).send(Uint8Array.from(bytes.subarray(0, cut + 1)));
        world.network.pass(5);
        client.go();
        client.untilClosed();
        other.check();
      }),
      { numRuns: 150 },
    );
    allGiven(world);
    world.network.run(() => world.server!.connections === 1, 'the connections to go');
    // The bystander's own chunk.
    expect(world.serverMemory.free()).toEqual([64, 31, 4, 4]);
  });

  it('one that says nothing is closed after a while', () => {
    const world = new PathWorld('unix', 3);
    const client = new RawClient(world);
    world.network.pass(IDLE_CONNECTION_MS - 2_000);
    expect(client.closed).toBe(false);
    world.network.pass(4_000);
    expect(client.closed).toBe(true);
  });

  it('one that asks for more than it may is not read, and holds a bounded part of memory', () => {
    const world = new PathWorld('unix', 3, 2_000_000, { maxRequests: 8, maxBytes: 2 << 20 });
    const other = bystander(world);
    const client = new RawClient(world);
    client.send(HELLO, openFrame(world));
    world.network.run(() => client.frames().length === 2, 'the session');
    // From here on it reads nothing: answers pile up until the socket is full.
    client.reading = false;
    const reads = Array.from({ length: 40 }, (_, i) => io({ op: IoOp.read, lengthBytes: 400_000, clientSeq: i + 1, tag: i }));
    client.send(...reads);
    world.network.pass(300);
    const held = SERVING_PAGES - world.serving.freePages.length;
    expect(held).toBeGreaterThan(0);
    expect(held * 4_096).toBeLessThan((2 << 20) + 8 * 4_096);
    other.check();
    // It reads again: everything is answered.
    client.read();
    world.network.run(() => client.received.length >= 40 * (400_000 + HEADER_BYTES), 'the answers');
    client.go();
    client.untilClosed();
    allGiven(world);
  });

  it('a server that is full refuses politely and goes on', () => {
    const world = new PathWorld('unix', 3);
    const clients = Array.from({ length: 12 }, (_, i) => new RawClient(world, Area.client + i * 4_096));
    world.network.run(() => clients.filter(client => client.closed).length >= 4, 'refusals');
    for (const client of clients) client.go();
    world.network.run(() => world.server!.connections === 0, 'the connections to go');
    bystander(world).check();
  });
});

describe('hostile Stargates', () => {
  /** Accepts one connection, reads and throws away, sends the given bytes. */
  function impostor(world: PathWorld, ...frames: Uint8Array[]): void {
    const engine = world.network.engine();
    const slot = engine.listen({ family: 'unix', path: SOCKET });
    const client = engine.register({
      onCompletion: (tag, result) => {
        if (tag === 0) {
          const gather = new Gather();
          const bytes = Buffer.concat(frames);
          world.arena.set(bytes, Area.client);
          gather.add(Area.client, bytes.length);
          engine.send(result, gather, 0, client, 1);
          engine.recv(result, Area.client + (1 << 20), 60_000, 0, client, 2 + result);
        } else if (tag > 1 && result > 0) engine.recv(tag - 2, Area.client + (1 << 20), 60_000, 0, client, tag);
      },
    });
    engine.accept(slot, client, 0);
  }

  const helloReply = encodeControl(FrameType.helloReply, { version: 1, software: 'x', maxRequests: 4, maxBytes: 1 << 20 });
  const opened = encodeControl(FrameType.sessionOpened, { term: 1, sizeBytes: 1 << 20 });

  it.each<[string, Uint8Array[]]>([
    ['no frame', [new Uint8Array(100).fill(7)]],
    ['a session before the hello', [opened]],
    [
      'an answer to nothing',
      [helloReply, opened, io({ type: FrameType.ioReply, op: IoOp.read, lengthBytes: 100_000 }, new Uint8Array(100_000))],
    ],
    ['an answer with a tag out of range', [helloReply, opened, io({ type: FrameType.ioReply, op: IoOp.flush, tag: 4_000_000 })]],
    ['absurd grants', [encodeControl(FrameType.helloReply, { version: 1, software: 'x', maxRequests: 1e9, maxBytes: 1 }), opened]],
    ['silence', [helloReply, opened]],
  ])('%s: the path is lost, nothing else', (_, frames) => {
    const world = new PathWorld('unix', 11);
    world.killServer();
    impostor(world, ...frames);
    const result = new OpenPath();
    world.ask(world.session(), result);
    world.network.run(() => result.ended !== null, 'the end');
    expect(result.ended).toBe('lost');
    world.network.pass(10);
    expect(world.clientMemory.free()).toEqual([64, 32, 4, 4]);
  });
});
