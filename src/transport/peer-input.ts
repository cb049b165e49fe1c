import type { Engine } from 'uring-engine';
import { FrameType, type FrameHeader } from '../wire/frame.js';
import { MAX_PEER_VDISKS, UUID_BYTES } from '../wire/limits.js';
import { decodeUuid, memberOf, type PeerOpen, type PeerSelf } from '../wire/peer-open.js';
import { EntryList, type PeerListener } from '../wire/peers.js';
import { shardOfVdisk } from '../wire/placement.js';
import { carriesEntries, checkReplica, decodeEntries, decodeReplica, isPlain } from '../wire/replica-frame.js';
import type { MemberId } from '../wire/replicate.js';

/** What a shard is to other Stargates: who it is, and who hears them. */
export interface PeerAcceptor {
  readonly self: PeerSelf;
  readonly listener: PeerListener;
}

/** Takes the frames of a connection on which another Stargate's shard speaks to this one. */
export class PeerInput {
  readonly from: MemberId;
  /** The same for two connections of one shard of the other Stargate. */
  readonly key: string;
  /** By the number that the connection gave them. */
  readonly #vdisks: string[] = [];
  readonly #entries = new EntryList();

  constructor(
    private readonly engine: Engine,
    open: PeerOpen,
    private readonly acceptor: PeerAcceptor,
    private readonly shard: number,
  ) {
    this.from = memberOf(open.from);
    this.key = `${this.from}/${open.fromShard}`;
  }

  /** A fault of the header, or null: the payload may come. */
  check(header: FrameHeader): string | null {
    if (header.type === FrameType.peerVdisk) return header.payloadBytes === UUID_BYTES ? null : 'ERR_FRAME_LENGTH';
    return this.#vdisks[header.session] === undefined ? 'ERR_PEER_VDISK' : checkReplica(header);
  }

  /** A whole frame of type peerVdisk or replica that `check` has passed. Returns a fault or null; throws WireFormatError. */
  onFrame(header: FrameHeader, payloadOffset: number): string | null {
    if (header.type === FrameType.peerVdisk) return this.#onVdisk(header.session, payloadOffset);
    const { view, bytes } = this.engine.arena;
    const entries = this.#entries;
    entries.clear();
    const { op, payloadBytes } = header;
    if (carriesEntries(op) && !decodeEntries(view, payloadOffset, header, entries)) return 'ERR_REPLICA_LENGTH';
    const body = payloadBytes === 0 || isPlain(op) ? null : bytes.subarray(payloadOffset, payloadOffset + payloadBytes);
    this.acceptor.listener.onPeerMessage(this.from, this.#vdisks[header.session]!, decodeReplica(header, body), entries);
    return null;
  }

  #onVdisk(number: number, payloadOffset: number): string | null {
    if (number > this.#vdisks.length || number >= MAX_PEER_VDISKS) return 'ERR_PEER_VDISK';
    const vdiskId = decodeUuid(this.engine.arena.view, payloadOffset);
    const { shards, streams } = this.acceptor.self;
    if (shardOfVdisk(vdiskId, streams, shards) !== this.shard) return 'ERR_PEER_SHARD';
    this.#vdisks[number] = vdiskId;
    return null;
  }
}
