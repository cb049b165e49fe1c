import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { EntryList } from '../../src/wire/peers.js';
import type { ReplicaMessage } from '../../src/wire/replicate.js';
import { digests, ENTRY_AREA, PEER_MEMORY, PeerWorld, vdiskFor } from './peer-worlds.js';

const MIB = 1 << 20;
const append = (committed: number): ReplicaMessage => ({ kind: 'append', term: 7, committed, committedHash: 3 });
const ack = (durableSeq: number): ReplicaMessage => ({
  kind: 'appendAck',
  term: 7,
  durableSeq,
  durableHash: 0xffff_ffff,
  tailSeq: durableSeq + 1,
  tailHash: 0,
  fits: true,
});

describe.each([1, 2, 3, 4])('links between Stargates, seed %d', seed => {
  it('carry messages both ways, from and to every shard, whatever the numbers of shards', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 6],
      ['b', 2, 4],
      ['c', 3, 3],
    ]);
    const expected: string[] = [];
    for (const from of world.hosts) {
      for (const to of world.hosts) {
        if (from === to) continue;
        for (let source = 0; source < from.shards; source++) {
          for (let target = 0; target < to.shards; target++) {
            const vdisk = vdiskFor(target, to.shards, to.self.streams);
            expect(from.say(source, to.member, vdisk, ack(source))).toBe(true);
            expected.push([to.self.node, target, from.member, vdisk, source].join());
          }
        }
      }
    }
    const heard = (): string[] =>
      world.hosts.flatMap(host =>
        host.heard.map(({ shard, from, vdiskId, message }) =>
          [host.self.node, shard, from, vdiskId, (message as { durableSeq: number }).durableSeq].join(),
        ),
      );
    world.network.run(() => heard().length === expected.length, 'all messages');
    expect(heard().sort()).toEqual(expected.sort());
    for (const { closed } of world.hosts) expect(closed).toEqual([]);
  });

  it('carry entries of any length byte by byte, in order', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 2],
      ['b', 2, 2],
    ]);
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    const vdisks = [randomUUID(), randomUUID(), randomUUID()];
    const lists = [
      [0],
      [],
      [1, 0, 4_096],
      [MIB],
      [16_384 - 136, 16_384 - 135],
      Array.from({ length: 16 }, (_, i) => i * 4_096),
      [MIB - 1, 1],
      Array<number>(16).fill(0),
      Array<number>(16).fill(65_536),
    ];
    const sent: { vdiskId: string; entries: string[]; message: ReplicaMessage }[] = [];
    for (const [i, lengths] of lists.entries()) {
      const vdiskId = vdisks[i % 3]!;
      const entries = world.entries(lengths);
      const message: ReplicaMessage = i % 4 === 3 ? { kind: 'entries', term: i } : append(i);
      sent.push({ vdiskId, entries: digests(world.arena, entries), message });
      // A full queue: what has been sent makes room.
      let isSent = false;
      world.network.run(() => (isSent ||= a.say(0, b.member, vdiskId, message, entries)), 'room');
      // The bytes are copied: what becomes of them here is of no interest.
      world.arena.fill(0xee, ENTRY_AREA, ENTRY_AREA + 2 * MIB);
    }
    world.network.run(() => b.heard.length === sent.length, 'all entries');
    for (const vdisk of vdisks) {
      const ofVdisk = <T extends { vdiskId: string }>(list: readonly T[]): unknown[] =>
        list.filter(({ vdiskId }) => vdiskId === vdisk).map(one => ({ ...one, vdiskId: '', shard: 0, from: '' }));
      expect(ofVdisk(b.heard)).toEqual(ofVdisk(sent));
    }
    world.network.pass(1_000);
    // One chunk for each connection that receives, and no more.
    expect(b.freeChunks().map(free => PEER_MEMORY.chunks - free)).toEqual(b.servers.map(server => server.connections));
    expect(a.freeChunks()[0]).toBe(PEER_MEMORY.chunks - b.servers.filter(server => server.connections > 0).length);
  });

  it('take more while they are sending', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 1],
      ['b', 1, 1],
    ]);
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    const vdisk = randomUUID();
    const sent: string[][] = [];
    for (let i = 0; i < 300; i++) {
      const entries = world.entries([world.network.random(5_000)]);
      sent.push(digests(world.arena, entries));
      expect(a.say(0, b.member, vdisk, append(i), entries)).toBe(true);
      for (let n = world.network.random(4); n > 0; n--) world.network.step();
    }
    world.network.run(() => b.heard.length === sent.length, 'all messages');
    expect(b.heard.map(({ entries }) => entries)).toEqual(sent);
    expect(a.closed).toEqual([]);
  });

  it('break once when the peer is killed, and are there again when it is', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 2],
      ['b', 2, 2],
    ]);
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    const vdisks = [0, 1].map(shard => vdiskFor(shard, 2, 2));
    const sayAll = (seq: number): boolean[] => vdisks.map(vdisk => a.say(0, b.member, vdisk, ack(seq)));
    expect(sayAll(1)).toEqual([true, true]);
    world.network.run(() => b.heard.length === 2, 'the first messages');
    b.kill();
    world.network.pass(3_000);
    expect(a.closed).toEqual(['0:b']);
    sayAll(2);
    world.network.pass(500);
    expect(a.closed).toEqual(['0:b']);
    b.heard.length = 0;
    b.start();
    world.network.pass(600);
    // By itself: what was used a moment ago is wanted again.
    expect(b.servers.map(server => server.connections)).toEqual([1, 1]);
    expect(sayAll(3)).toEqual([true, true]);
    world.network.run(() => b.heard.filter(({ message }) => (message as { durableSeq: number }).durableSeq === 3).length === 2, 'again');
    expect(a.closed).toEqual(['0:b']);
    b.kill();
    world.network.pass(500);
    expect(a.closed).toEqual(['0:b', '0:b']);
    expect(a.freeChunks()).toEqual([PEER_MEMORY.chunks]);
  });

  it('live as long as nothing is said, and break soon when the peer hangs', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 1],
      ['b', 1, 1],
    ]);
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    a.say(0, b.member, randomUUID(), ack(1));
    world.network.pass(60_000);
    expect(a.closed).toEqual([]);
    expect(b.servers[0]!.connections).toBe(1);
    // Its kernel goes on taking connections and bytes.
    b.engines[0]!.hung = true;
    world.network.pass(650);
    expect(a.closed).toEqual([]);
    world.network.pass(400);
    expect(a.closed).toEqual(['0:b']);
    b.engines[0]!.hung = false;
    world.network.pass(500);
    expect(a.say(0, b.member, randomUUID(), ack(2))).toBe(true);
    world.network.run(() => b.heard.length === 2, 'the next message');
    // The connection that it had before is over.
    world.network.pass(100);
    expect(b.servers[0]!.connections).toBe(1);
  });

  it('take nothing more when the queue is full, and tear nothing', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 1],
      ['b', 1, 1],
    ]);
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    const [vdisk, other] = [randomUUID(), randomUUID()];
    const taken: string[][] = [];
    let refused = 0;
    const sayOne = (i: number, lengths: readonly number[]): void => {
      const entries = world.entries(lengths);
      const digest = digests(world.arena, entries);
      if (a.say(0, b.member, vdisk, append(i), entries)) taken.push(digest);
      else refused++;
    };
    b.engines[0]!.hung = true;
    for (let i = 0; i < 150; i++) sayOne(i, i % 7 === 0 ? [200_000] : [i * 100, 5_000, 0]);
    expect(refused).toBeGreaterThan(10);
    // Small ones behind the last large one that did not fit.
    for (let i = 150; i < 500; i++) sayOne(i, [700]);
    while (a.say(0, b.member, vdisk, ack(1))) taken.push([]);
    // Of a vdisk not spoken of so far: its number is not announced either.
    expect(a.say(0, b.member, other, ack(1))).toBe(false);
    b.engines[0]!.hung = false;
    world.network.run(() => b.heard.length === taken.length, 'what was taken');
    sayOne(500, [MIB]);
    expect(a.say(0, b.member, other, ack(1))).toBe(true);
    world.network.run(() => b.heard.length === taken.length + 1, 'the next ones');
    expect(b.heard.map(({ entries }) => entries)).toEqual([...taken, []]);
    expect(b.heard.map(({ vdiskId }) => vdiskId)).toEqual([...taken.map(() => vdisk), other]);
    expect(a.closed).toEqual([]);
  });

  it('survive being cut at any byte', () => {
    const world = new PeerWorld(seed, [
      ['a', 1, 1],
      ['b', 1, 1],
    ]);
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    const vdisk = randomUUID();
    const all = new Map<number, string[]>();
    for (let i = 0; i < 400; i++) {
      const entries: EntryList = world.entries([world.network.random(30_000), world.network.random(3_000)]);
      all.set(i, digests(world.arena, entries));
      a.say(0, b.member, vdisk, append(i), entries);
      world.network.pass(world.network.random(8));
      if (world.network.random(20) === 0) (world.network.random(2) === 0 ? a : b).engines[0]!.cutLast();
    }
    world.network.pass(1_000);
    expect(b.heard.length).toBeGreaterThan(50);
    for (const { message, entries } of b.heard) expect(entries).toEqual(all.get((message as { committed: number }).committed));
    expect(a.freeChunks()).toEqual([PEER_MEMORY.chunks - 1]);
    expect(b.freeChunks()).toEqual([PEER_MEMORY.chunks - 1]);
  });
});

describe('links between Stargates', () => {
  const pair = (): PeerWorld =>
    new PeerWorld(5, [
      ['a', 1, 1],
      ['b', 2, 2],
    ]);

  it('refuse a store that is another one, until the record says who is there', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    const stale = { ...b.self, incarnation: 9 };
    world.tell([a.self, stale]);
    expect(a.say(0, b.member, randomUUID(), ack(1))).toBe(false);
    const [mistaken, right] = [`${b.self.node}/${b.self.storeUuid}/9` as typeof b.member, b.member];
    a.say(0, mistaken, randomUUID(), ack(1));
    world.network.run(() => a.closed.length === 1, 'the refusal');
    world.network.pass(2_000);
    expect(b.heard).toEqual([]);
    expect(a.closed).toEqual(['0:b']);
    world.tell();
    a.say(0, right, randomUUID(), ack(2));
    world.network.run(() => b.heard.length === 1, 'the right one');
  });

  it('refuse a node that has another number of shards than its record says', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    world.tell([a.self, { ...b.self, shards: 1 }]);
    a.say(0, b.member, vdiskFor(1, 2, 2), ack(1));
    world.network.run(() => a.closed.length === 1, 'the refusal');
    expect(b.heard).toEqual([]);
  });

  it('close when the node goes, and say so', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    a.say(0, b.member, randomUUID(), ack(1));
    world.network.run(() => b.heard.length === 1, 'a message');
    world.tell([a.self]);
    expect(a.closed).toEqual(['0:b']);
    expect(a.say(0, b.member, randomUUID(), ack(1))).toBe(false);
    world.network.run(() => b.servers.every(server => server.connections === 0), 'the end');
    expect(a.freeChunks()).toEqual([PEER_MEMORY.chunks]);
  });

  it('stay as they are when records come that say the same', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    a.say(0, b.member, randomUUID(), ack(1));
    for (let i = 0; i < 20; i++) {
      world.tell(world.hosts.map(({ self }) => ({ ...self })));
      world.network.pass(50);
    }
    expect(a.closed).toEqual([]);
    expect(b.servers.reduce((sum, server) => sum + server.connections, 0)).toBe(1);
  });

  it('are not made by a node that is not spoken to, nor kept trying for ever', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    world.network.pass(1_000);
    expect(b.servers.map(server => server.connections)).toEqual([0, 0]);
    b.kill();
    a.say(0, b.member, randomUUID(), ack(1));
    world.network.pass(20_000);
    expect(() => world.network.run(() => false)).toThrow('nothing happens any more');
  });

  it('end with the shard, and give everything back', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    a.say(0, b.member, randomUUID(), ack(1));
    b.say(1, a.member, randomUUID(), ack(1));
    world.network.run(() => a.heard.length === 1 && b.heard.length === 1, 'messages');
    let done = 0;
    for (const host of world.hosts) {
      host.links.forEach((links, i) => links.close(() => host.servers[i]!.close(() => done++)));
      for (const engine of host.engines) engine.poke();
    }
    world.network.run(() => done === 3, 'the end');
    expect([a, b].map(host => host.freeChunks())).toEqual([[64], [64, 64]]);
    expect(a.say(0, b.member, randomUUID(), ack(1))).toBe(false);
  });

  it('are refused where nobody listens to Stargates', () => {
    const world = pair();
    const [a, b] = [world.hosts[0]!, world.hosts[1]!];
    for (const server of b.servers) server.acceptPeers(null);
    a.say(0, b.member, randomUUID(), ack(1));
    world.network.run(() => a.closed.length === 1, 'the refusal');
  });
});
