import type { TimerId } from 'uring-engine';
import type { Logger } from '../base/log.js';
import { PEER_HEARTBEAT_MS } from '../wire/limits.js';
import { memberOf, type PeerSelf } from '../wire/peer-open.js';
import type { EntryList, PeerListener, PeerNode, PeerSender } from '../wire/peers.js';
import { shardOfVdisk } from '../wire/placement.js';
import type { MemberId, ReplicaMessage } from '../wire/replicate.js';
import { Operation, type TableEntry } from './connection-table.js';
import { PEER_RETRY_MIN_MS } from './limits.js';
import { PeerLink, type PeerLinkEvents } from './peer-link.js';
import type { ClientParts } from './unix-path.js';

export interface PeerLinksOptions extends ClientParts {
  readonly self: PeerSelf;
  readonly listener: PeerListener;
  /** Index of this shard. */
  readonly shard: number;
  readonly log: Logger;
}

/** Vdisks of which the link is remembered. */
const MAX_ROUTES = 65_536;
const TICK_MS = PEER_HEARTBEAT_MS / 2;
const MS = 1e6;

/** Another Stargate, and the links to its shards that have been wanted so far. */
class Peer {
  readonly links: (PeerLink | undefined)[] = [];
  readonly routes = new Map<string, PeerLink>();
  constructor(readonly node: PeerNode) {}
}

/** What this shard says to the shards of other Stargates goes through here. */
export class PeerLinks implements PeerSender, TableEntry, PeerLinkEvents {
  readonly #peers = new Map<MemberId, Peer>();
  /** Links of nodes that are gone or have changed, until their sockets are closed. */
  readonly #leaving = new Set<PeerLink>();
  /** Nodes of which a link is down and the listener knows. */
  readonly #told = new Set<string>();
  readonly #index: number;
  #timer: TimerId = -1;
  #lastTickNs = 0;
  #lastBeatNs = 0;
  #isClosed = false;
  #onIdle: (() => void) | null = null;

  constructor(private readonly options: PeerLinksOptions) {
    this.#index = options.table.add(this);
    if (this.#index < 0) throw new Error('too many connections of this shard');
  }

  /** All nodes there are; this one itself is left out. Links of those that have changed are closed. */
  setNodes(nodes: readonly PeerNode[]): void {
    const wanted = new Map<MemberId, PeerNode>();
    for (const node of nodes) if (node.node !== this.options.self.node) wanted.set(memberOf(node), node);
    for (const [member, peer] of this.#peers) {
      const next = wanted.get(member);
      if (next === undefined || !isSame(peer.node, next)) this.#remove(member, peer);
    }
    for (const [member, node] of wanted) if (!this.#peers.has(member)) this.#peers.set(member, new Peer(node));
    const names = new Set(nodes.map(({ node }) => node));
    for (const node of this.#told) if (!names.has(node)) this.#told.delete(node);
  }

  send(to: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList | null): boolean {
    const peer = this.#peers.get(to);
    if (peer === undefined || this.#isClosed) return false;
    const link = peer.routes.get(vdiskId) ?? this.#route(peer, vdiskId);
    const sent = link.send(vdiskId, message, entries);
    if (this.#timer < 0) this.#arm(TICK_MS);
    return sent;
  }

  /** `done` when the last socket is closed. */
  close(done: () => void): void {
    this.#isClosed = true;
    this.#onIdle = done;
    for (const [member, peer] of this.#peers) this.#remove(member, peer);
    this.onGone();
  }

  onCompletion(): void {
    this.#timer = -1;
    const { nowNs } = this.options.engine;
    const stalled = nowNs - this.#lastTickNs > 2 * PEER_HEARTBEAT_MS * MS;
    const beat = nowNs - this.#lastBeatNs >= (PEER_HEARTBEAT_MS - PEER_RETRY_MIN_MS) * MS;
    if (beat) this.#lastBeatNs = nowNs;
    let lives = false;
    let waits = false;
    for (const peer of this.#peers.values()) {
      for (const link of peer.links) {
        if (link === undefined) continue;
        link.onTick(nowNs, beat, stalled);
        lives ||= link.connections > 0;
        waits ||= link.waits;
      }
    }
    // A link that broke meanwhile has armed it.
    if ((lives || waits) && this.#timer < 0) this.#arm(waits ? PEER_RETRY_MIN_MS : TICK_MS);
  }

  onTurnEnd(): void {
    // Never touched.
  }

  // ---------------------------------------------------------------- what the links say

  onUp(node: string): void {
    if (this.#told.delete(node)) this.options.log.log('info', 'connected to another Stargate again', { node });
  }

  onDown(node: string, shard: number, code: string, message: string): void {
    this.#arm(PEER_RETRY_MIN_MS);
    if (this.#told.has(node)) return;
    this.#told.add(node);
    this.options.log.log('warn', 'the connection to another Stargate is down', { node, toShard: shard, code, message });
    this.options.listener.onPeerClosed(node);
  }

  onGone(): void {
    for (const link of this.#leaving) if (link.connections === 0) this.#leaving.delete(link);
    if (this.#leaving.size > 0 || this.#onIdle === null) return;
    const done = this.#onIdle;
    this.#onIdle = null;
    done();
  }

  #route(peer: Peer, vdiskId: string): PeerLink {
    const { self, shard } = this.options;
    const { shards, streams } = peer.node;
    const at = shardOfVdisk(vdiskId, streams, shards);
    const link = (peer.links[at] ??= new PeerLink(this.options, self, shard, peer.node, at, this));
    if (peer.routes.size === MAX_ROUTES) peer.routes.clear();
    peer.routes.set(vdiskId, link);
    return link;
  }

  #remove(member: MemberId, peer: Peer): void {
    this.#peers.delete(member);
    for (const [shard, link] of peer.links.entries()) {
      if (link === undefined || link.connections === 0) continue;
      link.close();
      this.#leaving.add(link);
      if (!this.#isClosed) this.onDown(peer.node.node, shard, 'ERR_PEER_CHANGED', 'the record of the node has changed, or is gone');
    }
  }

  #arm(delayMs: number): void {
    const { engine, table } = this.options;
    if (this.#timer >= 0) engine.cancelTimer(this.#timer);
    this.#lastTickNs = engine.nowNs;
    this.#timer = engine.timer(delayMs * MS, table.client, table.tag(this.#index, Operation.timer));
  }
}

function isSame(a: PeerNode, b: PeerNode): boolean {
  return a.unix === b.unix && a.tcp === b.tcp && a.shards === b.shards && a.streams === b.streams;
}
