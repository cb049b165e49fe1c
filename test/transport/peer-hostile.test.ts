import { randomUUID } from 'node:crypto';
import { Gather } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { decodeControl, encodeControl } from '../../src/wire/control.js';
import { createHeader, decodeHeader, encodeHeader, FrameType, resetHeader, type FrameHeader } from '../../src/wire/frame.js';
import { errorMessage } from '../../src/wire/hello.js';
import { HEADER_BYTES } from '../../src/wire/limits.js';
import { encodeUuid, type PeerOpen } from '../../src/wire/peer-open.js';
import { IoOp } from '../../src/wire/path.js';
import { ReplicaOp } from '../../src/wire/replica-frame.js';
import { ENTRY_AREA, PEER_MEMORY, PeerWorld, vdiskFor } from './peer-worlds.js';

/** Speaks to host b as whatever it likes. */
class Impostor {
  readonly received: number[] = [];
  closed = false;

  constructor(world: PeerWorld, ...frames: Uint8Array[]) {
    const engine = world.network.engine();
    const area = ENTRY_AREA + (8 << 20) + world.network.engines.length * 100_000;
    const bytes = Buffer.concat(frames);
    const client = engine.register({
      onCompletion: (tag, result) => {
        if (tag === 0) {
          world.arena.set(bytes, area);
          const gather = new Gather();
          gather.add(area, bytes.length);
          engine.send(result, gather, 0, client, 1);
          engine.recv(result, area + 80_000, 20_000, 0, client, 2 + result);
        } else if (tag === 1) return;
        else if (result <= 0) this.closed = true;
        else {
          this.received.push(...world.arena.subarray(area + 80_000, area + 80_000 + result));
          engine.recv(tag - 2, area + 80_000, 20_000, 0, client, tag);
        }
      },
    });
    engine.connect({ family: 'unix', path: world.hosts[1]!.self.unix }, client, 0);
  }

  /** Type and error code of the frames received. */
  get frames(): [number, string][] {
    const bytes = Uint8Array.from(this.received);
    const frames: [number, string][] = [];
    for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
      const header = createHeader();
      expect(decodeHeader(new DataView(bytes.buffer), at, header)).toBe(null);
      const payload = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + header.payloadBytes);
      frames.push([header.type, header.type === FrameType.error ? decodeControl(errorMessage, payload).code : '']);
      at += HEADER_BYTES + header.payloadBytes;
    }
    return frames;
  }
}

const HELLO = encodeControl(FrameType.hello, { versionMin: 1, versionMax: 1, role: 'stargate', software: 'hostile' });
const TOOL = encodeControl(FrameType.hello, { versionMin: 1, versionMax: 1, role: 'tool', software: 'hostile' });

function openFrame(world: PeerWorld, fields: Partial<PeerOpen> = {}): Uint8Array {
  const { node, storeUuid, incarnation, shards, streams } = world.hosts[1]!.self;
  const from = { node: 'x', storeUuid: randomUUID(), incarnation: 1 };
  return encodeControl(FrameType.peerOpen, {
    from,
    fromShard: 0,
    to: { node, storeUuid, incarnation },
    toShard: 1,
    shards,
    streams,
    ...fields,
  });
}

function frame(fields: Partial<FrameHeader>, payload = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const header = resetHeader(createHeader(), FrameType.replica);
  encodeHeader(new DataView(bytes.buffer), 0, { ...header, payloadBytes: payload.length, ...fields });
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

function vdiskFrame(number: number, vdiskId = vdiskFor(1, 2, 2)): Uint8Array {
  const payload = new Uint8Array(16);
  encodeUuid(new DataView(payload.buffer), 0, vdiskId);
  return frame({ type: FrameType.peerVdisk, session: number }, payload);
}

const watermark = frame({ op: ReplicaOp.watermark, term: 1, clientSeq: 5 });

function world(): PeerWorld {
  return new PeerWorld(11, [
    ['a', 1, 1],
    ['b', 2, 2],
  ]);
}

describe('hostile Stargates', () => {
  it.each<[string, string, (w: PeerWorld) => Uint8Array[]]>([
    ['a peer without the role', 'ERR_WIRE_ORDER', w => [TOOL, openFrame(w)]],
    [
      'a Stargate that opens a session',
      'ERR_WIRE_ORDER',
      () => [HELLO, encodeControl(FrameType.sessionOpen, { vdiskId: randomUUID(), generation: 1, datapathUuid: randomUUID(), shard: 0 })],
    ],
    ['a message before the beginning', 'ERR_WIRE_ORDER', () => [HELLO, watermark]],
    ['a number before the beginning', 'ERR_WIRE_ORDER', () => [HELLO, vdiskFrame(0)]],
    ['no identity', 'ERR_WIRE_FORMAT', () => [HELLO, encodeControl(FrameType.peerOpen, { from: 'x' })]],
    [
      'a node with a slash',
      'ERR_WIRE_FORMAT',
      w => [HELLO, openFrame(w, { from: { node: 'a/b', storeUuid: randomUUID(), incarnation: 1 } })],
    ],
    ['another store', 'ERR_PEER_IDENTITY', w => [HELLO, openFrame(w, { to: { ...w.hosts[1]!.self, storeUuid: randomUUID() } })]],
    ['a shard that is not there', 'ERR_PEER_SHARD', w => [HELLO, openFrame(w, { toShard: 2 })]],
    ['a second beginning', 'ERR_WIRE_ORDER', w => [HELLO, openFrame(w), openFrame(w)]],
    ['I/O', 'ERR_WIRE_ORDER', w => [HELLO, openFrame(w), frame({ type: FrameType.ioRequest, op: IoOp.flush, clientSeq: 1 })]],
    ['a vdisk without a number', 'ERR_PEER_VDISK', w => [HELLO, openFrame(w), watermark]],
    ['a number far ahead', 'ERR_PEER_VDISK', w => [HELLO, openFrame(w), vdiskFrame(1)]],
    ['half a vdisk', 'ERR_FRAME_LENGTH', w => [HELLO, openFrame(w), frame({ type: FrameType.peerVdisk }, new Uint8Array(8))]],
    ['the vdisk of another shard', 'ERR_PEER_SHARD', w => [HELLO, openFrame(w), vdiskFrame(0, vdiskFor(0, 2, 2))]],
    ['an unknown kind', 'ERR_REPLICA_KIND', w => [HELLO, openFrame(w), vdiskFrame(0), frame({ op: 99 })]],
    [
      '17 entries',
      'ERR_REPLICA_LENGTH',
      w => [HELLO, openFrame(w), vdiskFrame(0), frame({ op: 1, lengthBytes: 17 }, new Uint8Array(17 * 136))],
    ],
    [
      'lengths that lie',
      'ERR_REPLICA_LENGTH',
      w => [HELLO, openFrame(w), vdiskFrame(0), frame({ op: 1, lengthBytes: 1 }, new Uint8Array(200))],
    ],
    [
      'large lengths that lie',
      'ERR_REPLICA_LENGTH',
      w => [HELLO, openFrame(w), vdiskFrame(0), frame({ op: 1, lengthBytes: 1 }, new Uint8Array(60_000))],
    ],
    ['4 GiB', 'ERR_FRAME_LENGTH', w => [HELLO, openFrame(w), vdiskFrame(0), frame({ op: 1, lengthBytes: 1, payloadBytes: 0xffff_ffff })]],
    [
      'garbage for a seal',
      'ERR_WIRE_FORMAT',
      w => [HELLO, openFrame(w), vdiskFrame(0), frame({ op: ReplicaOp.seal }, new Uint8Array(5).fill(0xc1))],
    ],
  ])('%s is answered with %s and closes that connection only', (_, code, frames) => {
    const w = world();
    const [a, b] = [w.hosts[0]!, w.hosts[1]!];
    const vdisk = vdiskFor(1, 2, 2);
    a.say(0, b.member, vdisk, { kind: 'fenced', term: 1 });
    w.network.run(() => b.heard.length === 1, 'the bystander');
    const impostor = new Impostor(w, ...frames(w));
    w.network.run(() => impostor.closed, 'the end');
    expect(impostor.frames.find(([type]) => type === FrameType.error)?.[1]).toBe(code);
    a.say(0, b.member, vdisk, { kind: 'fenced', term: 2 });
    w.network.run(() => b.heard.length === 2, 'the bystander');
    expect([a.closed, b.closed]).toEqual([[], []]);
    w.network.pass(100);
    expect(b.memories[1]!.free()).toEqual([PEER_MEMORY.small, PEER_MEMORY.chunks - 1, PEER_MEMORY.medium, PEER_MEMORY.large]);
    expect(b.memories[0]!.free()[1]).toBe(PEER_MEMORY.chunks);
  });

  it('are heard when they keep to the protocol: who speaks is not proved here', () => {
    const w = world();
    const b = w.hosts[1]!;
    const vdisk = vdiskFor(1, 2, 2);
    const impostor = new Impostor(
      w,
      HELLO,
      openFrame(w),
      vdiskFrame(0, vdisk),
      watermark,
      frame({ type: FrameType.heartbeat, clientSeq: 3 }),
    );
    w.network.run(() => b.heard.length === 1 && impostor.frames.length === 3, 'a message and a heartbeat');
    expect(b.heard[0]).toMatchObject({ shard: 1, vdiskId: vdisk, message: { kind: 'watermark', term: 1, committed: 5 } });
    expect(impostor.frames.map(([type]) => type)).toEqual([FrameType.helloReply, FrameType.peerOpened, FrameType.heartbeatReply]);
  });

  it('a shard that speaks anew is not heard on its older connection any more', () => {
    const w = world();
    const open = openFrame(w);
    const first = new Impostor(w, HELLO, open);
    w.network.run(() => first.frames.length === 2, 'the first');
    const second = new Impostor(w, HELLO, open);
    const other = new Impostor(w, HELLO, openFrame(w));
    w.network.run(() => first.closed && second.frames.length === 2 && other.frames.length === 2, 'the second');
    w.network.pass(50);
    expect([second.closed, other.closed]).toEqual([false, false]);
  });
});
