import assert from 'node:assert/strict';
import { Gather, type Slot } from 'uring-engine';
import { decodeControl, encodeControl } from '../wire/control.js';
import { createHeader, encodeHeader, FrameType, resetHeader, type FrameHeader } from '../wire/frame.js';
import { heartbeat } from '../wire/heartbeat.js';
import { errorMessage, helloReply, WIRE_VERSION_MAX, WIRE_VERSION_MIN, type HelloMessage } from '../wire/hello.js';
import {
  ENTRY_HEADER_BYTES,
  ENTRY_LENGTH_BYTES,
  HEADER_BYTES,
  MAX_APPEND_PAYLOAD_BYTES,
  MAX_PEER_VDISKS,
  PEER_SILENCE_MS,
  UUID_BYTES,
} from '../wire/limits.js';
import { encodeUuid, peerOpened, type PeerOpen } from '../wire/peer-open.js';
import type { EntryList } from '../wire/peers.js';
import { carriesEntries, encodeEntryLengths, encodeReplica, entriesBytes } from '../wire/replica-frame.js';
import type { ReplicaMessage } from '../wire/replicate.js';
import { Operation, type TableEntry } from './connection-table.js';
import { dial, type StreamTarget } from './dial.js';
import { FrameReceiver, KEEP, type FrameHandler } from './frame-receiver.js';
import { CHUNK_BYTES, PEER_OPEN_TIMEOUT_MS } from './limits.js';
import { newShareCounts, type MemoryShare } from './memory.js';
import { PeerQueue } from './peer-queue.js';
import type { ClientParts } from './unix-path.js';

/** Who has made the connection. */
export interface PeerConnectionOwner {
  onUp(connection: PeerConnection): void;
  /** Once, unless it is closed before; never during a call to the connection. */
  onDown(connection: PeerConnection, code: string, message: string): void;
  /** Its last completion has come. */
  onGone(connection: PeerConnection): void;
}

/**
 * connecting ─▶ greeting (HELLO and PEER_OPEN are sent, and what was given to send meanwhile) ─▶ up ─▶ closing (until the socket's last completion) ─▶ closed;
 * to closing from each.
 */
type State = 'connecting' | 'greeting' | 'up' | 'closing' | 'closed';

const MS = 1e6;

/** The sender's end of a connection from a shard to a shard of another Stargate. */
export class PeerConnection implements TableEntry, FrameHandler, MemoryShare {
  readonly held = newShareCounts();
  readonly #index: number;
  readonly #queue: PeerQueue;
  readonly #gather = new Gather();
  readonly #header = createHeader();
  readonly #numbers = new Map<string, number>();
  readonly #vdisks: string[] = [];
  #nextNumber = 0;
  #state: State = 'connecting';
  #slot: Slot = -1;
  /** To receive into; taken first, since the queue takes all that it gets. */
  readonly #chunk: number;
  #receiver: FrameReceiver | null = null;
  readonly #startedNs: number;
  #heartbeats = 0;
  #touched = false;

  /** Throws when the table of connections is full. */
  constructor(
    private readonly parts: ClientParts,
    target: StreamTarget,
    open: PeerOpen,
    private readonly owner: PeerConnectionOwner,
  ) {
    const { engine, table, memory, software } = parts;
    this.#startedNs = engine.nowNs;
    this.#queue = new PeerQueue(engine, memory, this);
    this.#index = table.add(this);
    if (this.#index < 0) throw new Error('too many connections of this shard');
    this.#chunk = memory.take(CHUNK_BYTES, this);
    const hello: HelloMessage = { versionMin: WIRE_VERSION_MIN, versionMax: WIRE_VERSION_MAX, role: 'stargate', software };
    // Without memory for these it is lost when it is connected, and another one is made later.
    this.#put(encodeControl(FrameType.hello, hello));
    this.#put(encodeControl(FrameType.peerOpen, open));
    dial(table, target, table.tag(this.#index, Operation.connect), parts.dialer);
  }

  get isUp(): boolean {
    return this.#state === 'up';
  }

  /** Copies all of it, or nothing: false, when there is no room. */
  send(vdiskId: string, message: ReplicaMessage, entries: EntryList | null): boolean {
    if (this.#state === 'closing' || this.#state === 'closed') return false;
    this.#queue.begin();
    const number = this.#numberOf(vdiskId);
    if (number < 0 || !this.#write(number, message, entries)) {
      this.#queue.rollback();
      return false;
    }
    if (this.#numbers.get(vdiskId) !== number) this.#assign(vdiskId, number);
    this.#touch();
    return true;
  }

  close(): void {
    this.#tearDown();
  }

  // ---------------------------------------------------------------- completions

  onCompletion(operation: number, result: number): void {
    if (operation === Operation.recv) this.#receiver!.onReceived(result);
    else if (operation === Operation.send) this.#onSent(result);
    else if (operation === Operation.connect) this.#onConnected(result);
    else if (operation === Operation.close) this.#gone();
  }

  /** Every PEER_HEARTBEAT_MS at least. */
  onTick(nowNs: number, stalled: boolean): void {
    if (this.#state === 'connecting' || this.#state === 'greeting') {
      if (nowNs - this.#startedNs > PEER_OPEN_TIMEOUT_MS * MS) this.#lose('ERR_PEER_SILENT', `no answer within ${PEER_OPEN_TIMEOUT_MS} ms`);
      return;
    }
    if (this.#state !== 'up') return;
    // This shard itself stood still: what came meanwhile has not been received yet.
    if (stalled) this.#receiver!.lastReceivedNs = nowNs;
    if (nowNs - this.#receiver!.lastReceivedNs > PEER_SILENCE_MS * MS) {
      this.#lose('ERR_PEER_SILENT', `silent for ${PEER_SILENCE_MS} ms`);
      return;
    }
    const at = this.#queue.reserve(HEADER_BYTES);
    // No room: there is much under way, which says as much.
    if (at < 0) return;
    encodeHeader(this.parts.engine.arena.view, at, heartbeat(this.#header, ++this.#heartbeats));
    this.#touch();
  }

  onMemory(): void {
    if (this.#state === 'up' || this.#state === 'greeting') this.#receiver!.resume();
  }

  onTurnEnd(): void {
    this.#touched = false;
    if (this.#slot < 0 || this.#state === 'closing' || this.#queue.isSending || this.#queue.isEmpty) return;
    const { engine, table } = this.parts;
    this.#gather.clear();
    this.#queue.gather(this.#gather);
    engine.send(this.#slot, this.#gather, 0, table.client, table.tag(this.#index, Operation.send));
  }

  #touch(): void {
    if (this.#touched || this.#slot < 0) return;
    this.#touched = true;
    this.parts.table.touch(this);
  }

  #onConnected(result: number): void {
    const { engine, table, memory } = this.parts;
    if (result < 0) {
      // There is no socket to close.
      const wasClosing = this.#state === 'closing';
      this.#gone();
      if (!wasClosing) this.owner.onDown(this, 'ERR_PEER_CONNECT', `no connection (error ${-result})`);
      return;
    }
    this.#slot = result;
    if (this.#state === 'closing') {
      engine.close(result, table.client, table.tag(this.#index, Operation.close));
      return;
    }
    if (this.#chunk < 0 || this.#queue.isEmpty) {
      this.#lose('ERR_PEER_MEMORY', 'no transport memory is left for another connection');
      return;
    }
    const tag = table.tag(this.#index, Operation.recv);
    this.#receiver = new FrameReceiver(engine, memory, this, result, table.client, tag, this, this.#chunk);
    this.#state = 'greeting';
    this.#touch();
    this.#receiver.resume();
  }

  #onSent(result: number): void {
    this.#queue.sent();
    if (this.#state === 'closing') return;
    if (result < 0) this.#lose('ERR_PEER_SEND', `sending failed (error ${-result})`);
    else this.#touch();
  }

  // ---------------------------------------------------------------- sending

  #put(bytes: Uint8Array): boolean {
    const at = this.#queue.reserve(bytes.length);
    if (at >= 0) this.parts.engine.arena.bytes.set(bytes, at);
    return at >= 0;
  }

  /** The vdisk's number, announced now if it has none yet; -1: no room. */
  #numberOf(vdiskId: string): number {
    const known = this.#numbers.get(vdiskId);
    if (known !== undefined) return known;
    const at = this.#queue.reserve(HEADER_BYTES + UUID_BYTES);
    if (at < 0) return -1;
    const header = resetHeader(this.#header, FrameType.peerVdisk);
    header.session = this.#nextNumber;
    header.payloadBytes = UUID_BYTES;
    encodeHeader(this.parts.engine.arena.view, at, header);
    encodeUuid(this.parts.engine.arena.view, at + HEADER_BYTES, vdiskId);
    return this.#nextNumber;
  }

  /** Numbers are given anew when all are taken: the vdisk that had it gets another one when it is spoken of again. */
  #assign(vdiskId: string, number: number): void {
    const before = this.#vdisks[number];
    if (before !== undefined) this.#numbers.delete(before);
    this.#vdisks[number] = vdiskId;
    this.#numbers.set(vdiskId, number);
    this.#nextNumber = (number + 1) % MAX_PEER_VDISKS;
  }

  #write(number: number, message: ReplicaMessage, entries: EntryList | null): boolean {
    const header = resetHeader(this.#header, FrameType.replica);
    header.session = number;
    const body = encodeReplica(header, message);
    if (body !== null) header.payloadBytes = body.length;
    if (entries !== null && entries.count > 0) {
      assert(carriesEntries(header.op) && entries.totalPayloadBytes <= MAX_APPEND_PAYLOAD_BYTES, 'entries that no frame may carry');
      header.lengthBytes = entries.count;
      header.payloadBytes += entriesBytes(entries);
    }
    const at = this.#queue.reserve(HEADER_BYTES);
    if (at < 0) return false;
    encodeHeader(this.parts.engine.arena.view, at, header);
    if (entries !== null && entries.count > 0 && !this.#writeEntries(entries)) return false;
    return body === null || body.length === 0 || this.#put(body);
  }

  #writeEntries(entries: EntryList): boolean {
    const lengths = this.#queue.reserve(entries.count * ENTRY_LENGTH_BYTES);
    if (lengths < 0) return false;
    encodeEntryLengths(this.parts.engine.arena.view, lengths, entries);
    for (let i = 0; i < entries.count; i++) if (!this.#queue.copy(entries.headerOffset[i]!, ENTRY_HEADER_BYTES)) return false;
    for (let i = 0; i < entries.count; i++) if (!this.#queue.copy(entries.payloadOffset[i]!, entries.payloadBytes[i]!)) return false;
    return true;
  }

  // ---------------------------------------------------------------- receiving

  place(): number {
    return KEEP;
  }

  onFrame(header: FrameHeader, payloadOffset: number): void {
    if (header.type === FrameType.heartbeatReply) return;
    const payload = this.parts.engine.arena.bytes.subarray(payloadOffset, payloadOffset + header.payloadBytes);
    try {
      this.#onControl(header.type, payload);
    } catch (error) {
      this.#lose('ERR_WIRE_FORMAT', (error as Error).message);
    }
  }

  onFault(fault: string): void {
    this.#lose(fault, 'what was received is no frame of this protocol');
  }

  onLost(result: number): void {
    this.#lose('ERR_PEER_LOST', result === 0 ? 'the connection was closed' : `receiving failed (error ${-result})`);
  }

  #onControl(type: number, payload: Uint8Array): void {
    if (type === FrameType.helloReply && this.#state === 'greeting') decodeControl(helloReply, payload);
    else if (type === FrameType.peerOpened && this.#state === 'greeting') {
      decodeControl(peerOpened, payload);
      this.#state = 'up';
      this.owner.onUp(this);
    } else if (type === FrameType.error) {
      const { code, message } = decodeControl(errorMessage, payload);
      this.#lose(code, message);
    } else this.#lose('ERR_WIRE_ORDER', `a frame of type ${type} is not expected now`);
  }

  // ---------------------------------------------------------------- ends

  #lose(code: string, message: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#tearDown();
    this.owner.onDown(this, code, message);
  }

  #tearDown(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#state = 'closing';
    this.parts.memory.forget(this);
    this.#receiver?.stop();
    if (this.#slot < 0) return;
    const { engine, table } = this.parts;
    engine.shutdown(this.#slot);
    engine.close(this.#slot, table.client, table.tag(this.#index, Operation.close));
  }

  /** The socket has let go of all memory. */
  #gone(): void {
    this.#state = 'closed';
    this.#queue.destroy();
    if (this.#receiver !== null) this.#receiver.destroy();
    else if (this.#chunk >= 0) this.parts.memory.drop(this.#chunk);
    this.parts.table.remove(this.#index);
    this.owner.onGone(this);
  }
}
