import type { Slot } from 'uring-engine';
import { MAIN, type ShardContext } from '../shard/context.js';
import type { PeerSelf } from '../wire/peer-open.js';
import type { PeerListener } from '../wire/peers.js';
import type { VdiskServing } from '../wire/serving.js';
import { ConnectionTable } from './connection-table.js';
import type { Dialer } from './dial.js';
import { DEFAULT_MEMORY } from './limits.js';
import { Topic } from './mailbox-messages.js';
import { MailboxConnector } from './mailbox-path.js';
import { MailboxServer } from './mailbox-server.js';
import { TransportMemory, type MemoryCounts } from './memory.js';
import { PeerLinks } from './peer-links.js';
import type { AcceptedConnection } from './tls/messages.js';
import { shardDialer } from './tls/shard-dialer.js';
import { UnixConnector } from './unix-connector.js';
import { UnixServer, type MovedConnection } from './unix-server.js';

export interface ShardTransportOptions {
  readonly context: ShardContext;
  /** Name and version, told to other processes. */
  readonly software: string;
  readonly memory?: MemoryCounts;
  /** Connections over TCP are made by the process's TLS thread. */
  readonly tls?: boolean;
}

/** Arena bytes that a shard's transport takes of its region. */
export function transportRegionBytes(memory: MemoryCounts = DEFAULT_MEMORY): number {
  return TransportMemory.bytesFor(memory);
}

/** All ways from sessions of one shard to controllers elsewhere, and from elsewhere to the controllers of this shard. One per shard, whatever is mounted there. */
export class ShardTransport {
  readonly unix: UnixConnector;
  readonly mailbox: MailboxConnector;
  readonly memory: TransportMemory;
  readonly #table: ConnectionTable;
  readonly #dialer: { readonly dialer?: Dialer };
  #server: UnixServer | null = null;
  #links: PeerLinks | null = null;
  #ear: { readonly self: PeerSelf; readonly listener: PeerListener } | null = null;

  constructor(private readonly options: ShardTransportOptions) {
    const { context, software, memory = DEFAULT_MEMORY, tls = false } = options;
    const { engine } = context;
    this.memory = new TransportMemory(context.region.take(TransportMemory.bytesFor(memory)), memory);
    this.#table = new ConnectionTable(engine);
    this.#dialer = tls ? { dialer: shardDialer(context, this.#table) } : {};
    this.unix = new UnixConnector({ engine, table: this.#table, memory: this.memory, software, ...this.#dialer });
    this.mailbox = new MailboxConnector(context);
  }

  /**
   * The Stargate part's door: sessions of other shards and processes reach `serving`. To be called in every shard that has a Stargate part, once. `listener`:
   * the Stargate socket, in the shard that accepts; connections move to the shards of their vdisks, and those that want the metadata store to the main
   * thread (`Topic.meta`).
   */
  serve(serving: VdiskServing, listener: Slot | null): UnixServer {
    const { context, software } = this.options;
    new MailboxServer(context, serving);
    const server = new UnixServer({
      engine: context.engine,
      table: this.#table,
      memory: this.memory,
      software,
      serving,
      shard: context.index,
      listener,
      move: (shard, moved) => context.send(shard, Topic.moved, moved),
      moveMeta: moved => context.send(MAIN, Topic.meta, moved),
      log: context.log,
    });
    context.onMessage(Topic.moved, message => server.onMoved(message as MovedConnection));
    context.onMessage(Topic.accepted, message => server.onAccepted(message as AcceptedConnection));
    this.#server = server;
    if (this.#ear !== null) server.acceptPeers(this.#ear);
    return server;
  }

  /**
   * The links of this shard to other Stargates, and its ear for them. To be called in every shard, once. `self` is what the node's record says.
   */
  peers(listener: PeerListener, self: PeerSelf): PeerLinks {
    const { context, software } = this.options;
    const { engine, index: shard, log } = context;
    const links = new PeerLinks({ engine, table: this.#table, memory: this.memory, software, self, listener, shard, log, ...this.#dialer });
    this.#links = links;
    this.#ear = { self, listener };
    this.#server?.acceptPeers(this.#ear);
    return links;
  }

  /**
   * Ends the connections of other processes (their sessions go on elsewhere or later); `done` when their sockets are closed, and those that
   * sessions of this shard have closed.
   */
  close(done: () => void): void {
    const closeClients = (): void => this.unix.close(done);
    const closeServer = (): void => (this.#server === null ? closeClients() : this.#server.close(closeClients));
    if (this.#links === null) closeServer();
    else this.#links.close(closeServer);
  }
}
