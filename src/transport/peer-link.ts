import type { PeerOpen, PeerSelf } from '../wire/peer-open.js';
import type { EntryList, PeerNode } from '../wire/peers.js';
import { parseTcp } from '../wire/placement.js';
import type { ReplicaMessage } from '../wire/replicate.js';
import type { StreamTarget } from './dial.js';
import { MAX_PEER_ATTEMPTS, PEER_RETRY_MAX_MS, PEER_RETRY_MIN_MS, PEER_WANTED_MS } from './limits.js';
import { PeerConnection, type PeerConnectionOwner } from './peer-connection.js';
import type { ClientParts } from './unix-path.js';

const MS = 1e6;

export interface PeerLinkEvents {
  onUp(node: string): void;
  onDown(node: string, shard: number, code: string, message: string): void;
  onGone(): void;
}

/** From this shard to one shard of another Stargate: a connection when one is wanted, and the next one when it broke. */
export class PeerLink implements PeerConnectionOwner {
  #connection: PeerConnection | null = null;
  /** With those that are closing. */
  readonly #connections = new Set<PeerConnection>();
  #retryMs = PEER_RETRY_MIN_MS;
  #retryAtNs = 0;
  #wantedNs = -Infinity;

  constructor(
    private readonly parts: ClientParts,
    private readonly self: PeerSelf,
    private readonly shard: number,
    readonly peer: PeerNode,
    private readonly peerShard: number,
    private readonly events: PeerLinkEvents,
  ) {}

  get connections(): number {
    return this.#connections.size;
  }

  /** It is down, and is to be made again. */
  get waits(): boolean {
    return this.#connection === null && this.parts.engine.nowNs - this.#wantedNs < PEER_WANTED_MS * MS;
  }

  send(vdiskId: string, message: ReplicaMessage, entries: EntryList | null): boolean {
    this.#wantedNs = this.parts.engine.nowNs;
    if (this.#connection === null) this.#connect();
    return this.#connection?.send(vdiskId, message, entries) ?? false;
  }

  onTick(nowNs: number, beat: boolean, stalled: boolean): void {
    if (this.waits) this.#connect();
    else if (beat) this.#connection?.onTick(nowNs, stalled);
  }

  close(): void {
    this.#wantedNs = -Infinity;
    this.#connection?.close();
    this.#connection = null;
  }

  onUp(): void {
    this.#retryMs = PEER_RETRY_MIN_MS;
    this.events.onUp(this.peer.node);
  }

  onDown(connection: PeerConnection, code: string, message: string): void {
    if (connection !== this.#connection) return;
    this.#connection = null;
    this.#retryAtNs = this.parts.engine.nowNs + this.#retryMs * MS;
    this.#retryMs = Math.min(2 * this.#retryMs, PEER_RETRY_MAX_MS);
    this.events.onDown(this.peer.node, this.peerShard, code, message);
  }

  onGone(connection: PeerConnection): void {
    this.#connections.delete(connection);
    this.events.onGone();
  }

  #connect(): void {
    if (this.parts.engine.nowNs < this.#retryAtNs || this.#connections.size >= MAX_PEER_ATTEMPTS) return;
    const { node, storeUuid, incarnation, shards, streams } = this.peer;
    const open: PeerOpen = {
      from: { node: this.self.node, storeUuid: this.self.storeUuid, incarnation: this.self.incarnation },
      fromShard: this.shard,
      to: { node, storeUuid, incarnation },
      toShard: this.peerShard,
      shards,
      streams,
    };
    this.#connection = new PeerConnection(this.parts, targetOf(this.peer), open, this);
    this.#connections.add(this.#connection);
  }
}

/** TCP where the node listens there, else its socket on this machine. */
function targetOf({ node, unix, tcp }: PeerNode): StreamTarget {
  return tcp === null ? unix : { ...parseTcp(tcp), node };
}
