import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WireFormatError } from '../../src/wire/control.js';
import { createHeader, decodeHeader, encodeHeader, FrameType, resetHeader, type FrameHeader } from '../../src/wire/frame.js';
import {
  ENTRY_HEADER_BYTES,
  ENTRY_LENGTH_BYTES,
  HEADER_BYTES,
  MAX_APPEND_ENTRIES,
  MAX_CONTROL_BYTES,
  MAX_TERM_RUNS,
} from '../../src/wire/limits.js';
import { checkPeerOpen, decodeUuid, encodeUuid, type PeerOpen } from '../../src/wire/peer-open.js';
import { EntryList } from '../../src/wire/peers.js';
import {
  checkReplica,
  decodeEntries,
  decodeReplica,
  encodeEntryLengths,
  encodeReplica,
  entriesBytes,
  ReplicaOp,
} from '../../src/wire/replica-frame.js';
import { memberId, nodeOfMember, type ReplicaMessage } from '../../src/wire/replicate.js';

const number = fc.maxSafeNat();
const hash = fc.nat(0xffff_ffff);
const message: fc.Arbitrary<ReplicaMessage> = fc.oneof(
  fc.record({ kind: fc.constant('seal' as const), term: number, history: number, nonce: fc.constant(randomUUID()), attempt: number }),
  fc.record({
    kind: fc.constant('sealReply' as const),
    term: number,
    attempt: number,
    tailSeq: number,
    tailHash: hash,
    tailTerm: number,
    runs: fc.array(fc.record({ creationTerm: number, lastSeq: number }), { maxLength: 20 }),
    committedHeard: number,
  }),
  fc.record({ kind: fc.constantFrom('append' as const, 'watermark' as const), term: number, committed: number, committedHash: hash }),
  fc.record({
    kind: fc.constant('appendAck' as const),
    term: number,
    durableSeq: number,
    durableHash: hash,
    tailSeq: number,
    tailHash: hash,
    fits: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('cut' as const), term: number, tailSeq: number, tailHash: hash, afterSeq: number, afterHash: hash }),
  fc.record({ kind: fc.constant('fetch' as const), term: number, fromSeq: number }),
  fc.record({ kind: fc.constantFrom('confirm' as const, 'confirmed' as const), term: number, round: number }),
  fc.record({ kind: fc.constantFrom('fenced' as const, 'needSeal' as const, 'leave' as const, 'entries' as const), term: number }),
  fc.record({ kind: fc.constant('standIn' as const), term: number, isLeaving: fc.boolean(), committed: number, committedHash: hash }),
  fc.record({ kind: fc.constant('leaveReply' as const), term: number, isOut: fc.boolean() }),
  fc.record({
    kind: fc.constant('letGo' as const),
    term: number,
    attempt: number,
    what: fc.constantFrom('tail' as const, 'copy' as const),
    isGranted: fc.boolean(),
  }),
  fc.record({ kind: fc.constantFrom('resync' as const, 'copies' as const), term: number, data: fc.uint8Array({ maxLength: 300 }) }),
);

/** Through the bytes of a header, and a payload that lies in shared memory as in an arena. */
function roundTrip(sent: ReplicaMessage): ReplicaMessage {
  const header = resetHeader(createHeader(), FrameType.replica);
  const body = encodeReplica(header, sent);
  header.payloadBytes = body?.length ?? 0;
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  encodeHeader(view, 0, header);
  const received = createHeader();
  expect(decodeHeader(view, 0, received)).toBe(null);
  expect(checkReplica(received)).toBe(null);
  const payload = new Uint8Array(new SharedArrayBuffer(header.payloadBytes));
  if (body !== null) payload.set(body);
  return decodeReplica(received, header.payloadBytes === 0 ? null : payload);
}

function header(fields: Partial<FrameHeader>): FrameHeader {
  return { ...resetHeader(createHeader(), FrameType.replica), ...fields };
}

describe('messages between members', () => {
  it('come back as they were sent', () => {
    fc.assert(
      fc.property(message, sent => void expect(roundTrip(sent)).toEqual(sent)),
      { numRuns: 2_000 },
    );
  });

  it('tell the newest of too many runs', () => {
    const runs = Array.from({ length: MAX_TERM_RUNS + 5 }, (_, i) => ({ creationTerm: i + 1, lastSeq: 10 * (i + 1) }));
    const sent = { kind: 'sealReply', term: 9, attempt: 1, tailSeq: 1, tailHash: 2, tailTerm: 3, runs, committedHeard: 4 } as const;
    expect(roundTrip(sent)).toEqual({ ...sent, runs: runs.slice(5) });
  });

  it.each<[string, Partial<FrameHeader>, string | null]>([
    ['an unknown kind', { op: 99 }, 'ERR_REPLICA_KIND'],
    ['kind 0', { op: 0 }, 'ERR_REPLICA_KIND'],
    ['too many entries', { op: ReplicaOp.append, lengthBytes: MAX_APPEND_ENTRIES + 1, payloadBytes: 50_000 }, 'ERR_REPLICA_LENGTH'],
    ['2^32 entries', { op: ReplicaOp.append, lengthBytes: 0xffff_ffff, payloadBytes: 50_000 }, 'ERR_REPLICA_LENGTH'],
    ['less than its headers', { op: ReplicaOp.entries, lengthBytes: 2, payloadBytes: 2 * 136 - 1 }, 'ERR_REPLICA_LENGTH'],
    ['an inquiry with bytes', { op: ReplicaOp.append, payloadBytes: 1 }, 'ERR_REPLICA_LENGTH'],
    ['an inquiry', { op: ReplicaOp.append }, null],
    ['more than 1 MiB of payload', { op: ReplicaOp.append, lengthBytes: 1, payloadBytes: (1 << 20) + 137 }, 'ERR_REPLICA_LENGTH'],
    ['1 MiB of payload', { op: ReplicaOp.append, lengthBytes: 1, payloadBytes: (1 << 20) + 136 }, null],
    ['more data than it has bytes', { op: ReplicaOp.resync, tag: 200, payloadBytes: 100 }, 'ERR_REPLICA_LENGTH'],
    ['more data than it has bytes, of copies', { op: ReplicaOp.copies, tag: 200, payloadBytes: 100 }, 'ERR_REPLICA_LENGTH'],
    ['too much data', { op: ReplicaOp.resync, tag: MAX_CONTROL_BYTES + 1, payloadBytes: MAX_CONTROL_BYTES + 1 }, 'ERR_REPLICA_LENGTH'],
    ['an acknowledgement with payload', { op: ReplicaOp.appendAck, payloadBytes: 8 }, 'ERR_REPLICA_LENGTH'],
    ['neither fits nor not', { op: ReplicaOp.appendAck, status: 2 }, 'ERR_REPLICA_LENGTH'],
    ['a seal of 1 MiB', { op: ReplicaOp.seal, payloadBytes: 1 << 20 }, 'ERR_REPLICA_LENGTH'],
    ['an empty seal', { op: ReplicaOp.seal }, 'ERR_REPLICA_LENGTH'],
  ])('%s is found out by the header', (_, fields, fault) => {
    expect(checkReplica(header(fields))).toBe(fault);
  });

  it('of rare kinds with any bytes fail with WireFormatError and nothing else', () => {
    fc.assert(
      fc.property(fc.constantFrom(ReplicaOp.seal, ReplicaOp.sealReply), fc.uint8Array({ minLength: 1, maxLength: 100 }), (op, bytes) => {
        expect(() => decodeReplica(header({ op, payloadBytes: bytes.length }), bytes)).toThrow(WireFormatError);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('entries in a frame', () => {
  const view = new DataView(new SharedArrayBuffer(200_000));

  it('have their places back', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9_000), { maxLength: MAX_APPEND_ENTRIES }), lengths => {
        const sent = new EntryList();
        for (const bytes of lengths) sent.add(0, 0, bytes);
        encodeEntryLengths(view, 1_000, sent);
        const received = new EntryList();
        const frame = header({ op: ReplicaOp.append, lengthBytes: lengths.length, payloadBytes: entriesBytes(sent) });
        expect(checkReplica(frame)).toBe(null);
        expect(decodeEntries(view, 1_000, frame, received)).toBe(true);
        let payload = 1_000 + lengths.length * (ENTRY_LENGTH_BYTES + ENTRY_HEADER_BYTES);
        expect(received.count).toBe(lengths.length);
        lengths.forEach((bytes, i) => {
          expect(received.headerOffset[i]).toBe(1_000 + lengths.length * ENTRY_LENGTH_BYTES + i * ENTRY_HEADER_BYTES);
          expect([received.payloadOffset[i], received.payloadBytes[i]]).toEqual([payload, bytes]);
          payload += bytes;
        });
      }),
    );
  });

  it('whose lengths do not add up are refused, and never name a place outside', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.oneof(fc.nat(200), fc.nat(0xffff_ffff)), fc.constantFrom(0, 0, 0, 1)), { minLength: 1, maxLength: 4 }),
        fc.nat(300),
        (lengths, payload) => {
          lengths.forEach(([bytes, reserved], i) => {
            view.setUint32(i * ENTRY_LENGTH_BYTES, bytes, true);
            view.setUint32(i * ENTRY_LENGTH_BYTES + 4, reserved, true);
          });
          const count = lengths.length;
          const list = new EntryList();
          const frame = header({ op: ReplicaOp.append, lengthBytes: count, payloadBytes: count * 136 + payload });
          const good = lengths.every(([, reserved]) => reserved === 0) && lengths.reduce((sum, [bytes]) => sum + bytes, 0) === payload;
          expect(decodeEntries(view, 0, frame, list)).toBe(good);
        },
      ),
    );
  });

  it('are no more than a message may carry', () => {
    const list = new EntryList();
    for (let i = 0; i < MAX_APPEND_ENTRIES; i++) list.add(0, 0, 1);
    expect(() => list.add(0, 0, 1)).toThrow(RangeError);
    expect(list.totalPayloadBytes).toBe(MAX_APPEND_ENTRIES);
  });
});

describe('who speaks to whom', () => {
  const self = { node: 'b', storeUuid: randomUUID(), incarnation: 3, shards: 2, streams: 4 };
  const open: PeerOpen = {
    from: { node: 'a', storeUuid: randomUUID(), incarnation: 1 },
    fromShard: 0,
    to: { node: self.node, storeUuid: self.storeUuid, incarnation: self.incarnation },
    toShard: 1,
    shards: 2,
    streams: 4,
  };

  it.each<[string, Partial<PeerOpen>, string | undefined]>([
    ['the right one', {}, undefined],
    ['another node', { to: { ...open.to, node: 'c' } }, 'ERR_PEER_IDENTITY'],
    ['another store', { to: { ...open.to, storeUuid: randomUUID() } }, 'ERR_PEER_IDENTITY'],
    ['another incarnation', { to: { ...open.to, incarnation: 2 } }, 'ERR_PEER_IDENTITY'],
    ['another number of shards', { shards: 3 }, 'ERR_PEER_SHARD'],
    ['another number of streams', { streams: 2 }, 'ERR_PEER_SHARD'],
    ['a shard that is not there', { toShard: 2 }, 'ERR_PEER_SHARD'],
  ])('%s', (_, fields, code) => {
    expect(checkPeerOpen({ ...open, ...fields }, self)?.code).toBe(code);
  });

  it('UUIDs come back, members name their node', () => {
    const view = new DataView(new ArrayBuffer(24));
    fc.assert(
      fc.property(fc.uuid(), uuid => {
        encodeUuid(view, 8, uuid);
        expect(decodeUuid(view, 8)).toBe(uuid);
      }),
    );
    expect(nodeOfMember(memberId('node-1', randomUUID(), 7))).toBe('node-1');
  });
});
