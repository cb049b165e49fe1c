import { createHash, randomUUID } from 'node:crypto';
import { silentLogger } from '../../src/base/log.js';
import { ConnectionTable } from '../../src/transport/connection-table.js';
import { Topic } from '../../src/transport/mailbox-messages.js';
import { TransportMemory } from '../../src/transport/memory.js';
import { PeerLinks } from '../../src/transport/peer-links.js';
import { UnixServer, type MovedConnection } from '../../src/transport/unix-server.js';
import { ENTRY_HEADER_BYTES } from '../../src/wire/limits.js';
import { memberOf } from '../../src/wire/peer-open.js';
import { EntryList, type PeerListener, type PeerNode } from '../../src/wire/peers.js';
import type { MemberId, ReplicaMessage } from '../../src/wire/replicate.js';
import type { VdiskServing } from '../../src/wire/serving.js';
import { SimNetwork, type SimEngine } from './sim-engine.js';
import { connectShards } from './worlds.js';

const MIB = 1 << 20;
export const PEER_MEMORY = { sendAreas: 6, small: 4, chunks: 64, medium: 2, large: 2 } as const;
const SHARD_BYTES = 8 * MIB;
/** Entries that tests send lie behind the shards' memory. */
export const ENTRY_AREA = 6 * SHARD_BYTES;

export interface Heard {
  readonly shard: number;
  readonly from: MemberId;
  readonly vdiskId: string;
  readonly message: ReplicaMessage;
  /** SHA-1 of header and payload of each entry. */
  readonly entries: readonly string[];
}

const nothing: VdiskServing = {
  shardOf: () => -1,
  openSession: (_request, listener) => listener.onRefused('not-served', 'no vdisks here'),
  closeSession: (_request, done) => done(),
};

/** A Stargate of which only the peers' side lives: shards that say and hear. */
export class PeerHost {
  readonly self: PeerNode;
  engines: SimEngine[] = [];
  links: PeerLinks[] = [];
  servers: UnixServer[] = [];
  memories: TransportMemory[] = [];
  readonly heard: Heard[] = [];
  readonly closed: string[] = [];

  constructor(
    readonly world: PeerWorld,
    node: string,
    readonly shards: number,
    streams: number,
    private readonly firstShard: number,
  ) {
    this.self = { node, storeUuid: randomUUID(), incarnation: 1, unix: `/sim/${node}.sock`, tcp: null, shards, streams };
    this.start();
  }

  get member(): MemberId {
    return memberOf(this.self);
  }

  start(): void {
    const { network } = this.world;
    this.engines = Array.from({ length: this.shards }, () => network.engine());
    const contexts = connectShards(this.engines);
    const socket = this.engines[0]!.listen({ family: 'unix', path: this.self.unix });
    this.memories = contexts.map((_, shard) => new TransportMemory((this.firstShard + shard) * SHARD_BYTES, PEER_MEMORY));
    const tables = this.engines.map(engine => new ConnectionTable(engine));
    this.servers = contexts.map((context, shard) => {
      const listener = shard === 0 ? socket : null;
      const { engine } = context;
      const move = (to: number, moved: MovedConnection): void => context.send(to, Topic.moved, moved);
      const parts = { engine, table: tables[shard]!, memory: this.memories[shard]!, software: 'test', serving: nothing };
      const server = new UnixServer({ ...parts, shard, listener, move, log: silentLogger });
      server.acceptPeers({ self: this.self, listener: this.#listener(shard) });
      context.onMessage(Topic.moved, message => server.onMoved(message as MovedConnection));
      return server;
    });
    this.links = contexts.map(({ engine }, shard) => {
      const parts = { engine, table: tables[shard]!, memory: this.memories[shard]!, software: 'test' };
      return new PeerLinks({ ...parts, self: this.self, listener: this.#listener(shard), shard, log: silentLogger });
    });
  }

  kill(): void {
    for (const engine of this.engines) engine.kill();
  }

  say(shard: number, to: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList | null = null): boolean {
    const sent = this.links[shard]!.send(to, vdiskId, message, entries);
    this.engines[shard]!.poke();
    return sent;
  }

  /** Nothing is held by connections that are gone. */
  freeChunks(): number[] {
    return this.memories.map(memory => memory.free()[1]!);
  }

  #listener(shard: number): PeerListener {
    return {
      onPeerMessage: (from, vdiskId, message, entries) => {
        this.heard.push({ shard, from, vdiskId, message, entries: digests(this.world.arena, entries) });
      },
      onPeerClosed: node => void this.closed.push(`${shard}:${node}`),
    };
  }
}

export class PeerWorld {
  readonly network: SimNetwork;
  readonly hosts: PeerHost[] = [];

  /** Each host: [node, shards, streams]; six shards in all. */
  constructor(seed: number, hosts: readonly (readonly [string, number, number])[]) {
    this.network = new SimNetwork(seed);
    let first = 0;
    for (const [node, shards, streams] of hosts) {
      this.hosts.push(new PeerHost(this, node, shards, streams, first));
      first += shards;
    }
    this.tell();
  }

  get arena(): Uint8Array {
    return this.network.arena.bytes;
  }

  /** The records of all nodes reach all shards. */
  tell(nodes: readonly PeerNode[] = this.hosts.map(({ self }) => self)): void {
    for (const host of this.hosts) for (const links of host.links) links.setNodes(nodes);
    for (const host of this.hosts) for (const engine of host.engines) engine.poke();
  }

  /** Entries with random bytes, in the arena from `at` on. */
  entries(lengths: readonly number[], at = ENTRY_AREA): EntryList {
    const list = new EntryList();
    let next = at;
    for (const bytes of lengths) {
      for (let i = 0; i < ENTRY_HEADER_BYTES + bytes; i += 97) this.arena[next + i] = this.network.random(256);
      list.add(next, next + ENTRY_HEADER_BYTES, bytes);
      next += ENTRY_HEADER_BYTES + bytes;
    }
    return list;
  }
}

export function digests(arena: Uint8Array, entries: EntryList): string[] {
  return Array.from({ length: entries.count }, (_, i) => {
    const [header, payload] = [entries.headerOffset[i]!, entries.payloadOffset[i]!];
    return createHash('sha1')
      .update(arena.slice(header, header + ENTRY_HEADER_BYTES))
      .update(arena.slice(payload, payload + entries.payloadBytes[i]!))
      .digest('hex');
  });
}

/** A vdisk whose messages go to that shard of a node with so many streams and shards. */
export function vdiskFor(shard: number, shards: number, streams: number): string {
  for (;;) {
    const id = randomUUID();
    if ((Number.parseInt(id.slice(0, 8), 16) % streams) % shards === shard) return id;
  }
}
