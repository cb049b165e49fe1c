import { describe, expect, it } from 'vitest';
import { Blocker, IoOp, MAX_IO_BYTES, type StargatePath } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import { Area, OpenPath, PathWorld, SERVING_PAGES, TestRequest, VDISK_BYTES, type PathKind } from './worlds.js';

/** One body for every way between a session and its controller. */
describe.each(['same-shard', 'other-shard', 'unix'] as const)('path: %s', kind => {
  for (const seed of [1, 2, 3]) {
    describe(`seed ${seed}`, () => contract(kind, seed));
  }
});

function contract(kind: PathKind, seed: number): void {
  const start = (delayNs?: number): { world: PathWorld; path: StargatePath; send: Sender } => {
    const world = new PathWorld(kind, seed, delayNs);
    const { path } = world.open();
    return { world, path: path!, send: new Sender(world, path!) };
  };

  it('opens with the term and size of the vdisk, and is what it says', () => {
    const world = new PathWorld(kind, seed);
    const opened = world.open();
    expect(opened.info).toEqual({ term: 1, sizeBytes: VDISK_BYTES });
    expect(opened.path!.kind).toBe(kind);
  });

  it.each([1, 512, 4_096, 16_384, 16_385, 70_000, MAX_IO_BYTES])('carries writes and reads of %d bytes', length => {
    const { world, send } = start();
    const content = bytesOf(length, seed);
    const write = send.write(4_096 * 3 + 5, content);
    send.await(write);
    expect(write.status).toBe(IoStatus.ok);
    expect(write.term).toBe(1);
    const read = send.await(send.op(IoOp.read, 4_096 * 3 + 5, length));
    expect(read.status).toBe(IoStatus.ok);
    expect(Buffer.compare(read.bytes(world.arena), content)).toBe(0);
    send.path.release(read);
    send.settle();
  });

  it('carries a payload of many ranges', () => {
    const { world, send } = start();
    const content = bytesOf(200 * 1_024, seed);
    const request = send.write(0, content, 1_000);
    expect(request.payload.count).toBeGreaterThan(200);
    send.await(request);
    expect(Buffer.compare(world.vdisk.content.subarray(0, content.length), content)).toBe(0);
  });

  it('carries flush, trim, zero, prefetch and map', () => {
    const { world, send } = start();
    send.await(send.write(0, bytesOf(16_384, seed)));
    expect(send.await(send.op(IoOp.zero, 0, 4_096)).status).toBe(IoStatus.ok);
    expect(send.await(send.op(IoOp.trim, 8_192, 4_096)).status).toBe(IoStatus.ok);
    expect(send.await(send.op(IoOp.flush, 0, 0)).status).toBe(IoStatus.ok);
    expect(send.await(send.op(IoOp.prefetch, 0, 16_384)).status).toBe(IoStatus.ok);
    expect([0, 4_096, 8_192].map(at => world.vdisk.content.subarray(at, at + 4_096).some(byte => byte !== 0))).toEqual([
      false,
      true,
      false,
    ]);
    const map = send.await(send.op(IoOp.map, 0, VDISK_BYTES));
    expect([...map.extents.subarray(0, 2 * map.extentCount)]).toEqual([VDISK_BYTES / 2, 0, VDISK_BYTES / 2, 3]);
  });

  it('passes every status on, and no data with an error', () => {
    const { world, send } = start();
    for (const status of [IoStatus.corrupt, IoStatus.noSpace, IoStatus.readOnly, IoStatus.fenced, IoStatus.closed]) {
      world.serving.fault = () => status;
      const read = send.await(send.op(IoOp.read, 0, 40_000));
      expect(read.status).toBe(status);
      expect(read.data.count).toBe(0);
      expect(send.await(send.op(IoOp.map, 0, 4_096)).extentCount).toBe(0);
      expect(send.await(send.write(0, bytesOf(8, 1))).status).toBe(status);
    }
    world.serving.fault = null;
    expect(send.await(send.op(IoOp.read, VDISK_BYTES, 1)).status).toBe(IoStatus.invalid);
    send.settle();
  });

  it('keeps the order of submission with more requests than may be outstanding', () => {
    const { world, send } = start();
    const requests = Array.from({ length: 500 }, (_, i) =>
      i % 3 === 2
        ? send.op(IoOp.read, (i % 40) * 4_096, 1 + ((i * 977) % 90_000))
        : send.write((i % 40) * 4_096, bytesOf(1 + ((i * 331) % 30_000), i)),
    );
    // Whoever reads lets go in time: a controller and a path have only so much memory for data that nobody takes.
    world.network.run(() => {
      for (const request of requests) {
        if (request.op !== IoOp.read || request.answers === 0 || request.data.count === 0) continue;
        expect(request.data.totalBytes).toBe(request.lengthBytes);
        send.path.release(request);
        request.data.clear();
      }
      return requests.every(request => request.answers === 1);
    }, 'all answers');
    expect(world.vdisk.violations).toEqual([]);
    const writes = requests.filter(request => request.op === IoOp.write).map(request => `0#${request.clientSeq}`);
    expect(world.vdisk.log).toEqual(writes);
    send.settle();
  });

  it('keeps data as it is until it is released, however long that takes', () => {
    const { world, send } = start();
    const content = bytesOf(60_000, seed);
    send.await(send.write(0, content));
    const held = send.await(send.op(IoOp.read, 0, 60_000));
    for (let i = 0; i < 50; i++) {
      send.await(send.write(100 * i, bytesOf(5_000, i)));
      const read = send.await(send.op(IoOp.read, i, 3_000));
      send.path.release(read);
    }
    expect(Buffer.compare(held.bytes(world.arena), content)).toBe(0);
    send.path.release(held);
    send.settle();
  });

  it('answers nothing after close, and lets go of all memory, whatever is on its way at that moment', () => {
    for (let steps = 1; steps < 60; steps += 2) {
      const { world, send } = start(300_000);
      const held = send.await(send.op(IoOp.read, 0, 20_000));
      const requests = Array.from({ length: 40 }, (_, i) => (i % 4 < 3 ? send.op(IoOp.read, 0, 5_000) : send.write(0, bytesOf(20_000, i))));
      for (let i = 0; i < steps; i++) world.network.step();
      const answered = requests.filter(request => request.answers > 0);
      send.path.close();
      world.client.poke();
      world.network.pass(50);
      expect(requests.filter(request => request.answers > 0)).toEqual(answered);
      for (const request of answered) if (request.op === IoOp.read) send.path.release(request);
      send.path.release(held);
      send.settle();
    }
  });

  it('resumes: what was applied is recognised, what was not is applied once', () => {
    const { world, send } = start();
    const requests = Array.from({ length: 60 }, (_, i) => send.write(i * 4_096, bytesOf(4_096, i)));
    world.network.run(() => requests.filter(request => request.answers > 0).length > 10, 'some answers');
    send.path.close();
    const again = new Sender(world, world.open().path!);
    const replays = requests.filter(request => request.answers === 0);
    for (const request of replays) again.path.submit(request);
    world.client.poke();
    again.await(...replays);
    expect(world.vdisk.violations).toEqual([]);
    expect([...world.vdisk.log].sort()).toEqual(requests.map(request => `0#${request.clientSeq}`).sort());
    expect(requests.every(request => request.answers === 1)).toBe(true);
  });

  it('is ended by a newer attachment, for good', () => {
    const { world } = start();
    const old = new OpenPath();
    world.ask(world.session(1, 5), old);
    world.network.run(() => old.path !== null, 'a second session');
    const newer = world.open(world.session(2));
    expect(newer.path).not.toBe(null);
    world.network.run(() => old.ended !== null, 'the end of the older');
    expect(old.ended).toBe('closed');
    expect(world.open(world.session(1)).refused).toBe('closed');
  });

  it('is given up by a resume of the same session elsewhere', () => {
    const world = new PathWorld(kind, seed);
    const first = world.open();
    const second = world.open();
    world.network.run(() => first.ended !== null, 'the end of the first');
    expect(first.ended).toBe('fenced');
    const send = new Sender(world, second.path!);
    expect(send.await(send.op(IoOp.flush, 0, 0)).status).toBe(IoStatus.ok);
  });

  it('is refused where the vdisk is not served', () => {
    const world = new PathWorld(kind, seed);
    expect(world.open({ ...world.session(), vdiskId: '6f1f4c4e-0000-4000-8000-000000000000' }).refused).toBe('not-served');
  });

  it('says who controls the vdisk, when it is refused and when it ends', () => {
    const { world, send } = start();
    const path = new OpenPath();
    world.ask(world.session(1, 4), path);
    world.network.run(() => path.path !== null, 'a session');
    world.serving.move('node-2');
    world.network.run(() => path.ended !== null, 'the end of the session');
    expect([path.ended, path.node]).toEqual(['fenced', 'node-2']);
    const again = world.open({ ...world.session(), left: 'node-9' });
    expect([again.refused, again.node]).toEqual(['moved', 'node-2']);
    expect(world.serving.left).toEqual(['node-9']);
    send.settle();
  });

  if (kind === 'unix')
    it('carries the wish for a handover, and what holds up the oldest request', () => {
      const { world, path, send } = start();
      path.handover!('node-3');
      // It answers nothing.
      world.serving.onCompletion = () => undefined;
      world.serving.blocker = Blocker.itself;
      send.write(0, bytesOf(4_096, 1));
      world.network.pass(1_000);
      expect(world.serving.handovers).toEqual([`${world.vdisk.id} node-3`]);
      expect(path.blockedBy!()).toBe(Blocker.itself);
      expect(path.oldestAgeUs!()).toBeGreaterThan(400_000);
      send.settle();
    });

  it('does not open a session that was closed for good', () => {
    const { world, send } = start();
    send.await(send.op(IoOp.flush, 0, 0));
    send.path.close();
    world.closeSession(world.session());
    expect(world.open().refused).toBe('closed');
  });

  it('answers at once where the controller does', () => {
    const { world, send } = start(0);
    const content = bytesOf(300_000, seed);
    send.await(send.write(0, content));
    const read = send.await(send.op(IoOp.read, 0, 300_000));
    expect(Buffer.compare(read.bytes(world.arena), content)).toBe(0);
    send.path.release(read);
    send.settle();
  });
}

/** Numbers requests and gives them to a path. */
class Sender {
  #payloadAt: number = Area.client;

  constructor(
    readonly world: PathWorld,
    readonly path: StargatePath,
  ) {}

  op(op: IoOp, offsetBytes: number, lengthBytes: number): TestRequest {
    const request = new TestRequest();
    Object.assign(request, { op, offsetBytes, lengthBytes });
    return this.#submit(request);
  }

  /** `pieceBytes`: ranges of that length, with gaps between them. */
  write(offsetBytes: number, content: Uint8Array, pieceBytes = 1 << 20): TestRequest {
    const request = new TestRequest();
    Object.assign(request, { op: IoOp.write, offsetBytes, lengthBytes: content.length });
    for (let at = 0; at < content.length; at += pieceBytes) {
      const piece = content.subarray(at, at + pieceBytes);
      if (this.#payloadAt + piece.length + 7 > Area.clientTransport) this.#payloadAt = Area.client;
      this.world.arena.set(piece, this.#payloadAt);
      request.payload.add(this.#payloadAt, piece.length);
      this.#payloadAt += piece.length + 7;
    }
    return this.#submit(request);
  }

  await(...requests: TestRequest[]): TestRequest {
    this.world.network.run(() => requests.every(request => request.answers > 0), 'an answer');
    return requests.at(-1)!;
  }

  /** All memory is back where it belongs; what a connection of its own keeps aside. */
  settle(): void {
    this.path.close();
    this.world.client.poke();
    this.world.network.pass(100);
    expect(this.world.serving.freePages.length).toBe(SERVING_PAGES);
    expect(this.world.clientMemory.free()).toEqual([64, 32, 4, 4]);
    expect(this.world.serverMemory.free()).toEqual([64, 32, 4, 4]);
  }

  #submit(request: TestRequest): TestRequest {
    request.clientSeq = nextSeq.get(this.world) ?? 1;
    nextSeq.set(this.world, request.clientSeq + 1);
    this.path.submit(request);
    this.world.client.poke();
    return request;
  }
}

const nextSeq = new WeakMap<PathWorld, number>();

function bytesOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed + 1) * 2_654_435_761;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
