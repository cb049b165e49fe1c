import { parseArgs } from 'node:util';
import { ArenaRegion, createArena, createEngine } from 'uring-engine';
import { ConnectionTable } from '../../../src/transport/connection-table.js';
import { TransportMemory } from '../../../src/transport/memory.js';
import { PeerLinks } from '../../../src/transport/peer-links.js';
import { UnixServer } from '../../../src/transport/unix-server.js';
import { ENTRY_HEADER_BYTES, MAX_APPEND_ENTRIES } from '../../../src/wire/limits.js';
import { memberOf } from '../../../src/wire/peer-open.js';
import { EntryList, type PeerListener, type PeerNode } from '../../../src/wire/peers.js';

/**
 * A shard that speaks to another one over the real engine. The leader (`--entries N`) sends N entries of changing lengths, a window of them unanswered, and
 * sends again what was lost; the follower checks each and acknowledges. Prints "ready", then the leader a line of JSON when all are acknowledged.
 */
const { values } = parseArgs({
  options: {
    engine: { type: 'string' },
    self: { type: 'string' },
    peer: { type: 'string' },
    vdisk: { type: 'string' },
    entries: { type: 'string' },
  },
});
const self = JSON.parse(values.self!) as PeerNode;
const peer = JSON.parse(values.peer!) as PeerNode;
const total = Number(values.entries ?? 0);
const vdisk = values.vdisk!;
const WINDOW = 48;

const arena = createArena(256 << 20);
const region = new ArenaRegion(arena);
const engine = createEngine({ arena, kind: values.engine as 'io_uring' | 'libuv' });
const memory = new TransportMemory(region.take(TransportMemory.bytesFor()));
const table = new ConnectionTable(engine);
const area = region.take(2 << 20);
const log = {
  log: (level: string, message: string, fields?: unknown) => process.stderr.write(`${level} ${message} ${JSON.stringify(fields)}\n`),
};

/** Entry `seq` has this length, and this in all its bytes. */
const lengthOf = (seq: number): number => (seq % 50 === 0 ? 1 << 20 : seq % 7 === 0 ? 0 : (seq * 2_621) % 40_000);
const fillOf = (seq: number): number => 1 + (seq % 251);

let next = 1;
let acked = 0;
let lost = 0;
let bad = 0;
let lastAckNs = 0;
let done = false;

function fill(): void {
  if (total === 0 || done) return;
  const list = new EntryList();
  while (next <= total && next <= acked + WINDOW) {
    list.clear();
    const first = next;
    let at = area;
    while (next <= total && list.count < MAX_APPEND_ENTRIES && list.totalPayloadBytes + lengthOf(next) <= 1 << 20) {
      const bytes = lengthOf(next);
      arena.bytes.fill(fillOf(next), at, at + ENTRY_HEADER_BYTES + bytes);
      list.add(at, at + ENTRY_HEADER_BYTES, bytes);
      at += ENTRY_HEADER_BYTES + bytes;
      next++;
    }
    if (!links.send(memberOf(peer), vdisk, { kind: 'append', term: 1, committed: first, committedHash: 0 }, list)) {
      next = first;
      return;
    }
  }
}

const listener: PeerListener = {
  onPeerMessage(from, id, message, entries) {
    if (from !== memberOf(peer) || id !== vdisk) bad++;
    if (message.kind === 'append') {
      for (let i = 0; i < entries.count; i++) check(message.committed + i, entries, i);
      const durableSeq = acked;
      links.send(from, id, { kind: 'appendAck', term: 1, durableSeq, durableHash: bad, tailSeq: 0, tailHash: 0, fits: true }, null);
    } else if (message.kind === 'appendAck') {
      acked = Math.max(acked, message.durableSeq);
      bad += message.durableHash;
      lastAckNs = engine.nowNs;
      fill();
      if (acked === total && !done) {
        done = true;
        process.stdout.write(`${JSON.stringify({ acked, bad, lost })}\n`);
      }
    }
  },
  onPeerClosed() {
    lost++;
  },
};

/** Those that follow what there is count; the rest is late or early. */
function check(seq: number, { headerOffset, payloadOffset, payloadBytes }: EntryList, i: number): void {
  if (seq !== acked + 1) return;
  const fillByte = fillOf(seq);
  const whole = (at: number, bytes: number): boolean => {
    for (let n = 0; n < bytes; n += n < bytes - 64 ? 61 : 1) if (arena.bytes[at + n] !== fillByte) return false;
    return true;
  };
  if (payloadBytes[i] !== lengthOf(seq) || !whole(headerOffset[i]!, ENTRY_HEADER_BYTES) || !whole(payloadOffset[i]!, payloadBytes[i]))
    bad++;
  acked = seq;
}

const parts = { engine, table, memory, software: 'test', log };
const serving = {
  shardOf: () => -1,
  openSession: () => undefined,
  closeSession: () => undefined,
};
const unix = engine.listen({ family: 'unix', path: self.unix });
const server = new UnixServer({ ...parts, serving, shard: 0, listener: unix, move: () => undefined });
const tcp = engine.listen({ family: 'tcp', host: '127.0.0.1', port: self.tcp === null ? 0 : Number(self.tcp.split(':')[1]) });
server.listenAt(tcp);
server.acceptPeers({ self, listener });
const links = new PeerLinks({ ...parts, self, listener, shard: 0 });
links.setNodes([self, peer]);
const client = engine.register({
  onCompletion() {
    engine.timer(50e6, client, 0);
    if (engine.nowNs - lastAckNs > 200e6) next = acked + 1;
    fill();
  },
});
engine.timer(50e6, client, 0);
process.stdout.write('ready\n', () => void engine.run());
