import type { MemberId, ReplicaMessage } from './replicate.js';
import { MAX_APPEND_ENTRIES } from './limits.js';

/** What the Stargates of a cluster tell each other about the logs of their vdisks: the interface between a shard's replicas and its links to other nodes. */

/** A node of the cluster and where it listens, as its record says. */
export interface PeerNode {
  readonly node: string;
  readonly storeUuid: string;
  readonly incarnation: number;
  /** Of its starts, the one that has registered last. */
  readonly boot?: number;
  /** Its Stargate socket; reached where it is on this machine. */
  readonly unix: string;
  /** "host:port", or null: it does not listen to other machines. */
  readonly tcp: string | null;
  readonly shards: number;
  readonly streams: number;
}

/**
 * Entries of a message, as places in the arena: columns that are used again and again. An entry is a header of ENTRY_HEADER_BYTES, of which a transport
 * knows nothing, and its payload of 0 to MAX_IO_BYTES.
 */
export class EntryList {
  count = 0;
  totalPayloadBytes = 0;
  readonly headerOffset = new Float64Array(MAX_APPEND_ENTRIES);
  readonly payloadOffset = new Float64Array(MAX_APPEND_ENTRIES);
  readonly payloadBytes = new Float64Array(MAX_APPEND_ENTRIES);

  clear(): void {
    this.count = 0;
    this.totalPayloadBytes = 0;
  }

  /** `payloadOffset` means nothing without payload. */
  add(headerOffset: number, payloadOffset: number, payloadBytes: number): void {
    const { count } = this;
    if (count === MAX_APPEND_ENTRIES) throw new RangeError(`a message carries at most ${MAX_APPEND_ENTRIES} entries`);
    this.headerOffset[count] = headerOffset;
    this.payloadOffset[count] = payloadOffset;
    this.payloadBytes[count] = payloadBytes;
    this.totalPayloadBytes += payloadBytes;
    this.count = count + 1;
  }
}

/** Who hears what other nodes say to this shard, and how its own links fare. */
export interface PeerListener {
  /** The bytes of `entries` are valid during the call only, and so is the list. Nothing of the message is known to be true, only its form. */
  onPeerMessage(from: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList): void;
  /** The outgoing link to the node broke, or could not be made: told once until it is up again. What was sent may be lost. */
  onPeerClosed(node: string): void;
}

/** The links of one shard, and the nodes that they may go to. */
export interface PeerLinksPort extends PeerSender {
  /** All there are but this one: on each change. */
  setNodes(nodes: readonly PeerNode[]): void;
}

/** The links of one shard to the shards of other nodes. */
export interface PeerSender {
  /**
   * Copies the bytes before it returns. False: not sent (the node is unknown or another incarnation, no link yet, the queue is full): the caller's
   * machines send again. True does not say that it arrives. Order is kept between two shards as long as the link holds.
   */
  send(to: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList | null): boolean;
}
