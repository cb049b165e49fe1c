import type { Engine, Slot } from 'uring-engine';
import type { Logger } from '../base/log.js';
import { MAX_CONNECTION_BYTES, MAX_CONNECTION_REQUESTS } from '../wire/limits.js';
import type { VdiskServing } from '../wire/serving.js';
import type { TlsPeer } from './tls/credentials.js';
import type { AcceptedConnection } from './tls/messages.js';
import { Operation, type ConnectionTable, type TableEntry } from './connection-table.js';
import type { TransportMemory } from './memory.js';
import type { PeerAcceptor } from './peer-input.js';
import { ServedRequestPool } from './served-request.js';
import { ServerListener } from './server-listener.js';
import { ServerConnection, ServerFullError, type ConnectionPurpose } from './server-connection.js';
import type { ServerLimits } from './server-io.js';

/** A connection on its way to the shard it is for. Structured-cloneable. */
export interface MovedConnection {
  readonly fd: number;
  readonly leftover: Uint8Array;
  readonly purpose: ConnectionPurpose;
}

/** A connection that wants the metadata store. What was received of it begins with its HELLO. */
export interface MovedMeta {
  readonly fd: number;
  readonly leftover: Uint8Array;
}

export interface UnixServerOptions {
  readonly engine: Engine;
  readonly table: ConnectionTable;
  readonly memory: TransportMemory;
  readonly software: string;
  readonly serving: VdiskServing;
  /** Index of this shard. */
  readonly shard: number;
  /** Listening socket of this shard's engine; null where another shard accepts. More of them: `listenAt`. */
  readonly listener: Slot | null;
  /** Hands a connection to another shard's `onMoved`. */
  readonly move: (shard: number, moved: MovedConnection) => void;
  /** Hands a connection that wants the metadata store to who serves it; absent: refused here. */
  readonly moveMeta?: (moved: MovedMeta) => void;
  readonly log: Logger;
  readonly limits?: ServerLimits;
}

export interface ServerParts extends UnixServerOptions {
  readonly limits: ServerLimits;
  readonly pool: ServedRequestPool;
  /** Null where no Stargate may speak to this shard. */
  readonly peers: () => PeerAcceptor | null;
  /** Another Stargate's shard has begun to speak: an older connection of it is over. */
  readonly onPeer: (connection: ServerConnection) => void;
  readonly onGone: (connection: ServerConnection) => void;
}

const TICK_NS = 1e9;

/** The Stargate protocol's server in one shard. */
export class UnixServer implements TableEntry {
  readonly #parts: ServerParts;
  readonly #index: number;
  readonly #connections = new Set<ServerConnection>();
  #peers: PeerAcceptor | null = null;
  readonly #listeners: ServerListener[] = [];
  #ticking = false;
  #onClosed: (() => void) | null = null;

  constructor(options: UnixServerOptions) {
    this.#parts = {
      ...options,
      limits: options.limits ?? { maxRequests: MAX_CONNECTION_REQUESTS, maxBytes: MAX_CONNECTION_BYTES },
      pool: new ServedRequestPool(1),
      peers: () => this.#peers,
      onPeer: connection => this.#onPeer(connection),
      onGone: connection => this.#onGone(connection),
    };
    this.#index = options.table.add(this);
    if (options.listener !== null) this.listenAt(options.listener);
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** From now on other Stargates may speak to this shard; null: no more. To be called in every shard. */
  acceptPeers(acceptor: PeerAcceptor | null): void {
    this.#peers = acceptor;
    if (acceptor === null) for (const connection of this.#connections) if (connection.peerKey !== null) connection.stop();
  }

  /** One more listening socket. */
  listenAt(listener: Slot): void {
    const { table, log } = this.#parts;
    this.#listeners.push(new ServerListener(table, listener, log, slot => this.#add(slot, connection => connection.start())));
  }

  /** A connection over TLS, which others have accepted; `peer` is who it is. */
  onAccepted({ fd, peer }: AcceptedConnection): void {
    this.#add(this.#parts.engine.adopt(fd, 'socket'), connection => connection.start(), peer);
  }

  /** A connection that another shard has accepted for this one. */
  onMoved(moved: MovedConnection): void {
    const slot = this.#parts.engine.adopt(moved.fd, 'socket');
    this.#add(slot, connection => connection.takeOver(moved.purpose, moved.leftover));
  }

  /** Accepts no more and ends all connections; their clients are told to try again. */
  close(done: () => void): void {
    this.#onClosed = done;
    for (const listener of this.#listeners) listener.close();
    for (const connection of this.#connections) connection.stop();
    this.#checkClosed();
  }

  onCompletion(operation: number): void {
    if (operation === Operation.timer) this.#onTick();
  }

  onTurnEnd(): void {
    // Never touched.
  }

  #add(slot: Slot, start: (connection: ServerConnection) => void, peer: TlsPeer | null = null): void {
    let connection: ServerConnection;
    try {
      connection = new ServerConnection(this.#parts, slot, peer);
    } catch (error) {
      if (!(error instanceof ServerFullError)) throw error;
      this.#parts.log.log('warn', error.message, { code: error.code });
      this.#drop(slot);
      return;
    }
    this.#connections.add(connection);
    start(connection);
    this.#arm();
  }

  #drop(slot: Slot): void {
    const { engine, table } = this.#parts;
    engine.close(slot, table.client, table.tag(this.#index, Operation.close));
  }

  #arm(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    const { engine, table } = this.#parts;
    engine.timer(TICK_NS, table.client, table.tag(this.#index, Operation.timer));
  }

  #onTick(): void {
    this.#ticking = false;
    for (const connection of this.#connections) connection.onTick(this.#parts.engine.nowNs);
    if (this.#connections.size > 0) this.#arm();
  }

  #onPeer(connection: ServerConnection): void {
    for (const other of this.#connections) if (other !== connection && other.peerKey === connection.peerKey) other.stop();
  }

  #onGone(connection: ServerConnection): void {
    this.#connections.delete(connection);
    this.#checkClosed();
  }

  #checkClosed(): void {
    if (this.#connections.size > 0 || this.#onClosed === null) return;
    const done = this.#onClosed;
    this.#onClosed = () => undefined;
    done();
  }
}
