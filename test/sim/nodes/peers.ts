import { ENTRY_HEADER_BYTES } from '../../../src/stargate/oplog/index.js';
import { EntryList, type PeerSender } from '../../../src/wire/peers.js';
import type { MemberId, ReplicaMessage } from '../../../src/wire/replicate.js';
import { traceKind } from '../trace.js';
import type { ClusterNode } from './cluster-node.js';
import { MAX_PEER_NS, MAX_RELINK_NS, MAX_UNDER_WAY, PEER_SILENT_NS, WATCH_NS } from './limits.js';
import { numberOf } from './metadata.js';

const Up = traceKind((from, to) => `link ${from} → ${to}: up`);
const Down = traceKind((from, to, why) => `link ${from} → ${to}: ${['refused', 'broken', 'silent', 'the process is gone'][why]}`);
const Said = traceKind(
  (from, to, kind, term, entries) => `peer ${from} → ${to}: ${KINDS[kind]} of term ${term}${entries > 0 ? `, ${entries} entries` : ''}`,
);
const KINDS = [
  'seal',
  'sealReply',
  'append',
  'appendAck',
  'cut',
  'watermark',
  'fenced',
  'needSeal',
  'fetch',
  'entries',
  'standIn',
  'resync',
  'confirm',
  'confirmed',
  'leave',
  'leaveReply',
  'letGo',
  'copies',
] as const;
const Why = { refused: 0, broken: 1, silent: 2, gone: 3 } as const;

/** One of a link's connections, one after the other. What is on its way when it breaks is lost, or arrives: perhaps behind what the next one brings. */
interface Connection {
  isLost: boolean;
}

/** The outgoing link of one node to another: in order while its connection lasts. */
class PeerLink {
  state: 'down' | 'connecting' | 'up' = 'down';
  connection: Connection = { isLost: false };
  lastNs = 0;
  underWay = 0;
  clearNs = 0;
  notBeforeNs = 0;
  isTold = false;
  /** The process it leads to. */
  process = -1;
  constructor(readonly to: ClusterNode) {}
}

/** What one process of a node sends to others: the production links' promises, without their bytes and sockets. */
export class SimPeers implements PeerSender {
  readonly #links = new Map<number, PeerLink>();
  readonly #list = new EntryList();
  isDead = false;

  constructor(readonly node: ClusterNode) {
    this.#watch();
  }

  send(to: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList | null): boolean {
    const link = this.#link(numberOf(to));
    if (link.to.member !== to) return false;
    if (link.state !== 'up') {
      if (link.state === 'down') this.#connect(link);
      return false;
    }
    if (link.underWay === MAX_UNDER_WAY) return false;
    const { node } = this;
    const { clock, network, trace } = node.cluster;
    const bytes = entries === null || entries.count === 0 ? null : this.#copy(entries);
    trace.add(Said, node.number, link.to.number, KINDS.indexOf(message.kind), message.term, bytes?.length ?? 0);
    link.underWay++;
    link.lastNs = Math.max(link.lastNs + 1, clock.nowNs + 1 + clock.below(MAX_PEER_NS));
    const { connection } = link;
    clock.at(link.lastNs, () =>
      network.wire(
        node.number,
        link.to.number,
      )(() => {
        if (connection.isLost) return;
        if (link.connection === connection) link.underWay = Math.max(0, link.underWay - 1);
        if (link.to.process === link.process) link.to.turn(() => link.to.receive(node.member, vdiskId, message, bytes, this.#list));
      }),
    );
    return true;
  }

  /** The connection to the node breaks, if there is one. */
  cut(to: number): void {
    const link = this.#link(to);
    if (link.state === 'up') this.#down(link, Why.broken);
  }

  /** The process that it leads to is gone: heard at once, unless nothing gets through. */
  peerGone(to: number): void {
    const link = this.#link(to);
    const { clock, network } = this.node.cluster;
    if (link.state === 'down' || this.isDead) return;
    const { connection } = link;
    clock.after(1 + clock.below(2 * MAX_PEER_NS), () =>
      network.wire(
        to,
        this.node.number,
      )(() => {
        if (link.connection === connection && link.state === 'up') this.#down(link, Why.gone);
      }),
    );
  }

  #copy({ count, headerOffset, payloadOffset, payloadBytes }: EntryList): Buffer[] {
    const { bytes } = this.node.memory.arena;
    return Array.from({ length: count }, (_, i) => {
      const header = bytes.subarray(headerOffset[i], headerOffset[i]! + ENTRY_HEADER_BYTES);
      return Buffer.concat([header, bytes.subarray(payloadOffset[i], payloadOffset[i]! + payloadBytes[i]!)]);
    });
  }

  #link(to: number): PeerLink {
    let link = this.#links.get(to);
    if (link === undefined) this.#links.set(to, (link = new PeerLink(this.node.cluster.node(to))));
    return link;
  }

  #connect(link: PeerLink): void {
    const { node } = this;
    const { clock, network, trace } = node.cluster;
    if (clock.nowNs < link.notBeforeNs) return;
    link.state = 'connecting';
    link.clearNs = clock.nowNs;
    const connection = (link.connection = { isLost: false });
    clock.after(1 + clock.below(2 * MAX_PEER_NS), () =>
      network.wire(
        node.number,
        link.to.number,
      )(() =>
        network.wire(
          link.to.number,
          node.number,
        )(() => {
          // Given up meanwhile: what was held by the network makes it not whole again.
          if (link.connection !== connection || connection.isLost || this.isDead) return;
          if (link.to.part === null) return this.#down(link, Why.refused);
          link.state = 'up';
          link.process = link.to.process;
          link.isTold = false;
          trace.add(Up, node.number, link.to.number);
        }),
      ),
    );
  }

  #down(link: PeerLink, why: number): void {
    const { node } = this;
    const { clock, trace } = node.cluster;
    if (this.isDead) return;
    trace.add(Down, node.number, link.to.number, why);
    link.state = 'down';
    link.notBeforeNs = clock.nowNs + clock.below(MAX_RELINK_NS);
    // What has got to the other side's socket is read there.
    if (clock.below(2) === 0) link.connection.isLost = true;
    link.underWay = 0;
    if (link.isTold) return;
    link.isTold = true;
    node.turn(part => part.groups!.onPeerClosed(link.to.nodeId));
  }

  #watch(): void {
    const { clock, network } = this.node.cluster;
    clock.after(WATCH_NS, () => {
      if (this.isDead) return;
      for (const link of this.#links.values()) {
        const isHeard = network.isWhole(this.node.number, link.to.number) && !link.to.isPaused;
        // A process that was held itself blames nobody.
        if (link.state === 'down' || isHeard || this.node.isPaused) link.clearNs = clock.nowNs;
        else if (clock.nowNs - link.clearNs > PEER_SILENT_NS) this.#down(link, Why.silent);
      }
      this.#watch();
    });
  }
}
