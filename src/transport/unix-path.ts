import type { Engine, Slot } from 'uring-engine';
import { decodeControl, encodeControl } from '../wire/control.js';
import { createHeader, encodeHeader, FrameFlag, FrameType, resetHeader, type FrameHeader } from '../wire/frame.js';
import { heartbeat } from '../wire/heartbeat.js';
import { errorMessage, helloReply, WIRE_VERSION_MAX, WIRE_VERSION_MIN, type HelloMessage } from '../wire/hello.js';
import { checkIoReply, decodeExtents } from '../wire/io.js';
import { HEADER_BYTES, SUSPECT_AFTER_MS } from '../wire/limits.js';
import { Blocker, IoOp, type PathRequest, type StargatePath } from '../wire/path.js';
import type { SessionEnd, SessionRefusal, SessionRequest } from '../wire/serving.js';
import { sessionEnded, sessionOpened, sessionRefused } from '../wire/session.js';
import { IoStatus } from '../wire/status.js';
import { Operation, type ConnectionTable, type TableEntry } from './connection-table.js';
import { dial, streamKind, type Dialer, type StreamTarget } from './dial.js';
import { FrameReceiver, KEEP, REFUSE, type FrameHandler } from './frame-receiver.js';
import { FrameSender } from './frame-sender.js';
import { CHUNK_BYTES, CLOSE_TIMEOUT_MS, OPEN_TIMEOUT_MS } from './limits.js';
import { newShareCounts, type MemoryShare, type TransportMemory } from './memory.js';
import type { PathListener, PathLoss } from './path-listener.js';
import { RequestRing } from './request-ring.js';

export interface ClientParts {
  readonly engine: Engine;
  readonly table: ConnectionTable;
  readonly memory: TransportMemory;
  /** Name and version, told to the other side. */
  readonly software: string;
  /** For TCP; absent: the engine, in the clear. */
  readonly dialer?: Dialer;
}

/** What the connection is for: a session's I/O, telling that a session is over, or finding out whether anybody answers. */
export type Purpose = 'open' | 'close' | 'probe';

/**
 * connecting ─▶ greeting (HELLO and SESSION_OPEN are sent) ─▶ open ─▶ closing (until the socket's last completion) ─▶ closed;
 * to closing from each.
 */
type State = 'connecting' | 'greeting' | 'open' | 'closing' | 'closed';

const MS = 1e6;
const EPIPE = 32;
const ECONNRESET = 104;

/** The client's end of a connection: one session's path over a Unix socket or TCP. */
export class UnixPath implements StargatePath, TableEntry, FrameHandler, MemoryShare {
  readonly kind: 'unix' | 'tcp';
  readonly held = newShareCounts();
  readonly #index: number;
  #state: State = 'connecting';
  #listener: PathListener | null;
  #slot: Slot = -1;
  #receiver: FrameReceiver | null = null;
  #sender: FrameSender | null = null;
  readonly #startedNs: number;
  #heartbeats = 0;
  /** As the answer to the last heartbeat told it. */
  #oldestAgeUs = 0;
  #blocker: Blocker = Blocker.unknown;
  #touched = false;
  /** Nothing can be sent any more; 0: it can. */
  #sendError = 0;

  readonly #pending = new RequestRing();
  /** By tag: the request at the server, and its READ buffer or -1. */
  readonly #requests: (PathRequest | null)[] = [];
  readonly #buffers: number[] = [];
  readonly #freeTags: number[] = [];
  #maxBytes = 0;
  #inFlight = 0;
  #bytesInFlight = 0;
  readonly #header = createHeader();

  /** Throws when the table of connections is full. */
  constructor(
    private readonly parts: ClientParts,
    target: StreamTarget,
    private readonly purpose: Purpose,
    private readonly session: SessionRequest,
    listener: PathListener,
    private readonly onGone: (path: UnixPath) => void,
  ) {
    const { engine, table } = parts;
    this.#listener = listener;
    this.#startedNs = engine.nowNs;
    this.#index = table.add(this);
    if (this.#index < 0) throw new Error('too many connections of this shard');
    this.kind = streamKind(target);
    dial(table, target, table.tag(this.#index, Operation.connect), parts.dialer);
  }

  // ---------------------------------------------------------------- StargatePath

  submit(request: PathRequest): void {
    this.#pending.push(request);
    this.#touch();
  }

  release(request: PathRequest): void {
    this.parts.memory.drop(request.pathTag);
  }

  handover(toNode: string): void {
    if (this.#state === 'open') this.#control(encodeControl(FrameType.sessionHandover, { vdiskId: this.session.vdiskId, to: toNode }));
  }

  blockedBy(): Blocker {
    return this.#blocker;
  }

  oldestAgeUs(): number {
    return this.#oldestAgeUs;
  }

  close(): void {
    this.#listener = null;
    this.#tearDown();
  }

  // ---------------------------------------------------------------- completions

  onCompletion(operation: number, result: number): void {
    if (operation === Operation.recv) this.#receiver!.onReceived(result);
    else if (operation === Operation.send) this.#onSent(result);
    else if (operation === Operation.connect) this.#onConnected(result);
    else if (operation === Operation.close) this.#gone();
  }

  /** `beats`: once every HEARTBEAT_INTERVAL_MS. */
  onTick(nowNs: number, stalled: boolean, beats: boolean): void {
    if (this.#state === 'connecting' || this.#state === 'greeting') {
      const limitMs = this.purpose === 'open' ? OPEN_TIMEOUT_MS : CLOSE_TIMEOUT_MS;
      if (nowNs - this.#startedNs > limitMs * MS) this.#lose(`the Stargate did not answer within ${limitMs} ms`);
      return;
    }
    if (this.#sendError !== 0) this.#end(lossOf(this.#sendError), `sending to the Stargate failed (error ${this.#sendError})`);
    if (this.#state !== 'open') return;
    // This shard itself stood still: what came meanwhile has not been received yet.
    if (stalled) this.#receiver!.lastReceivedNs = nowNs;
    if (nowNs - this.#receiver!.lastReceivedNs > SUSPECT_AFTER_MS * MS) {
      this.#lose(`the Stargate has been silent for ${SUSPECT_AFTER_MS} ms`);
      return;
    }
    if (!beats) return;
    const frame = new Uint8Array(HEADER_BYTES);
    heartbeat(this.#header, ++this.#heartbeats);
    encodeInto(frame, this.#header);
    this.#control(frame);
  }

  onMemory(): void {
    if (this.#state !== 'open' && this.#state !== 'greeting') return;
    this.#receiver!.resume();
    this.#touch();
  }

  onTurnEnd(): void {
    this.#touched = false;
    if ((this.#state !== 'open' && this.#state !== 'greeting') || this.#sendError !== 0 || !this.#sender!.begin()) return;
    if (this.#state === 'open') this.#gatherRequests();
    this.#sender!.go();
  }

  #touch(): void {
    if (this.#touched) return;
    this.#touched = true;
    this.parts.table.touch(this);
  }

  #onConnected(result: number): void {
    if (result < 0) {
      // There is no socket to close.
      const closing = this.#state === 'closing';
      this.#state = 'closed';
      this.parts.table.remove(this.#index);
      this.onGone(this);
      if (!closing) this.#tell('lost', `no connection to the Stargate (error ${-result})`);
      return;
    }
    this.#slot = result;
    const { engine, table, memory } = this.parts;
    if (this.#state === 'closing') {
      engine.close(result, table.client, table.tag(this.#index, Operation.close));
      return;
    }
    const chunk = memory.take(CHUNK_BYTES, this);
    const area = memory.takeSendArea();
    if (area >= 0) this.#sender = new FrameSender(engine, result, table.client, table.tag(this.#index, Operation.send), area);
    if (chunk >= 0) {
      this.#receiver = new FrameReceiver(engine, memory, this, result, table.client, table.tag(this.#index, Operation.recv), this, chunk);
    }
    if (chunk < 0 || area < 0) {
      this.#lose('no transport memory is left for another connection');
      return;
    }
    this.#state = 'greeting';
    const hello: HelloMessage = {
      versionMin: WIRE_VERSION_MIN,
      versionMax: WIRE_VERSION_MAX,
      role: 'datapath',
      software: this.parts.software,
    };
    this.#control(encodeControl(FrameType.hello, hello));
    if (this.purpose !== 'probe') {
      const { vdiskId, generation, datapathUuid, shard, left, shared } = this.session;
      const type = this.purpose === 'open' ? FrameType.sessionOpen : FrameType.sessionClose;
      this.#control(encodeControl(type, { vdiskId, generation, datapathUuid, shard, left, shared }));
    }
    this.#receiver!.resume();
  }

  #onSent(result: number): void {
    this.#sender!.onSent();
    if (this.#state === 'closing') return;
    // The other end has closed: what it said before, like who serves the vdisk now, may still have to be received.
    if (result < 0) this.#sendError = -result;
    else this.#touch();
  }

  // ---------------------------------------------------------------- sending

  #control(frame: Uint8Array): void {
    if (this.#sender!.addControl(frame)) this.#touch();
    else this.#lose('the Stargate takes nothing more');
  }

  /** Adds what may be sent to the open send, in the order of submission. */
  #gatherRequests(): void {
    const { memory } = this.parts;
    const sender = this.#sender!;
    while (this.#pending.length > 0 && this.#freeTags.length > 0) {
      const request = this.#pending.peek();
      const { payload } = request;
      const bytes = dataBytes(request);
      if (this.#inFlight > 0 && this.#bytesInFlight + bytes > this.#maxBytes) return;
      if (!sender.hasRoom(1 + payload.count, HEADER_BYTES)) return;
      let buffer = -1;
      if (request.op === IoOp.read) {
        buffer = memory.take(request.lengthBytes, this);
        if (buffer < 0) {
          memory.wait(this);
          return;
        }
      }
      this.#pending.shift();
      const tag = this.#freeTags.pop()!;
      this.#requests[tag] = request;
      this.#buffers[tag] = buffer;
      request.pathTag = tag;
      this.#inFlight++;
      this.#bytesInFlight += bytes;
      this.#addRequest(sender, request, tag);
    }
  }

  #addRequest(sender: FrameSender, request: PathRequest, tag: number): void {
    const header = resetHeader(this.#header, FrameType.ioRequest);
    header.op = request.op;
    header.tag = tag;
    header.clientSeq = request.clientSeq;
    header.lowWater = request.lowWater;
    header.flags = request.fua ? FrameFlag.fua : 0;
    header.offsetBytes = request.offsetBytes;
    header.lengthBytes = request.lengthBytes;
    const { payload } = request;
    if (request.op === IoOp.write) header.payloadBytes = payload.totalBytes;
    sender.header(header);
    if (request.op !== IoOp.write) return;
    for (let i = 0; i < payload.count; i++) sender.gather.add(payload.offsets[i]!, payload.lengths[i]!);
  }

  // ---------------------------------------------------------------- receiving

  place(header: FrameHeader): number {
    if (header.type !== FrameType.ioReply) return KEEP;
    const request = this.#requests[header.tag] ?? null;
    const known = request !== null && request.clientSeq === header.clientSeq && request.op === header.op;
    const fault = !known || request.lengthBytes !== header.lengthBytes ? 'ERR_IO_REPLY' : checkIoReply(header);
    if (fault !== null) {
      this.#lose(`${fault}: the Stargate answered what was not asked`);
      return REFUSE;
    }
    return header.op === IoOp.read && header.payloadBytes > 0 ? this.#buffers[header.tag]! : KEEP;
  }

  onFrame(header: FrameHeader, payloadOffset: number): void {
    if (header.type === FrameType.ioReply) {
      this.#onReply(header, payloadOffset);
      return;
    }
    if (header.type === FrameType.heartbeatReply) {
      this.#oldestAgeUs = header.lowWater;
      this.#blocker = header.status as Blocker;
      return;
    }
    const payload = this.parts.engine.arena.bytes.subarray(payloadOffset, payloadOffset + header.payloadBytes);
    try {
      this.#onControl(header.type, payload);
    } catch (error) {
      this.#lose((error as Error).message);
    }
  }

  onFault(fault: string): void {
    this.#lose(`${fault}: the Stargate's answer is no frame of this protocol`);
  }

  onLost(result: number): void {
    this.#end(
      lossOf(-result),
      result === 0 ? 'the Stargate closed the connection' : `receiving from the Stargate failed (error ${-result})`,
    );
  }

  #onReply(header: FrameHeader, payloadOffset: number): void {
    const { tag } = header;
    const request = this.#requests[tag]!;
    const buffer = this.#buffers[tag]!;
    const { memory, engine } = this.parts;
    this.#requests[tag] = null;
    this.#freeTags.push(tag);
    this.#inFlight--;
    this.#bytesInFlight -= dataBytes(request);
    request.status = header.status as IoStatus;
    request.term = header.term;
    if (buffer >= 0) {
      this.#buffers[tag] = -1;
      if (header.status === IoStatus.ok) {
        request.data.add(buffer, header.payloadBytes);
        request.pathTag = buffer;
      } else memory.drop(buffer);
    } else if (request.op === IoOp.map && header.payloadBytes > 0) {
      request.extentCount = decodeExtents(engine.arena.view, payloadOffset, header.payloadBytes, request.extents);
      if (request.extentCount < 0) {
        this.#lose('ERR_IO_REPLY: the Stargate sent a map that is none');
        return;
      }
    }
    if (this.#pending.length > 0) this.#touch();
    request.owner.onReply(request);
  }

  #onControl(type: number, payload: Uint8Array): void {
    if (type === FrameType.helloReply && this.#state === 'greeting') {
      const reply = decodeControl(helloReply, payload);
      if (this.purpose === 'probe') {
        this.#end('closed', 'it answers');
        return;
      }
      this.#maxBytes = reply.maxBytes;
      for (let tag = reply.maxRequests - 1; tag >= 0; tag--) {
        this.#requests[tag] = null;
        this.#buffers[tag] = -1;
        this.#freeTags.push(tag);
      }
    } else if (type === FrameType.sessionOpened && this.#state === 'greeting' && this.#freeTags.length > 0) {
      const opened = decodeControl(sessionOpened, payload);
      this.#state = 'open';
      this.#listener?.onOpened(this, opened);
    } else if (type === FrameType.sessionRefused) {
      const { reason, message, node } = decodeControl(sessionRefused, payload);
      this.#refuse(reason, message, node);
    } else if (type === FrameType.error) {
      const { code, message } = decodeControl(errorMessage, payload);
      if (this.#state === 'greeting') this.#refuse('not-served', `${code}: ${message}`);
      else this.#lose(`${code}: ${message}`);
    } else if (type === FrameType.sessionEnded) {
      const { reason, node } = decodeControl(sessionEnded, payload);
      this.#end(reason, 'the Stargate ended the session', node);
    } else if (type === FrameType.sessionClosed && this.purpose === 'close') {
      this.#end('closed', 'the session is closed');
    } else {
      this.#lose(`the Stargate sent a frame of type ${type} out of turn`);
    }
  }

  // ---------------------------------------------------------------- ends

  #refuse(reason: SessionRefusal, message: string, node?: string): void {
    this.#tearDown();
    const listener = this.#listener;
    this.#listener = null;
    listener?.onRefused(reason, message, node);
  }

  #lose(message: string): void {
    this.#end('lost', message);
  }

  #end(reason: SessionEnd | PathLoss, message: string, node?: string): void {
    this.#tearDown();
    this.#tell(reason, message, node);
  }

  #tell(reason: SessionEnd | PathLoss, message: string, node?: string): void {
    const listener = this.#listener;
    this.#listener = null;
    listener?.onEnded(reason, message, node);
  }

  /** Nothing is sent from here on, and no request touched. The memory goes back when the socket has let go of it. */
  #tearDown(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    const connected = this.#slot >= 0;
    this.#state = 'closing';
    this.#pending.clear();
    this.#requests.fill(null);
    this.parts.memory.forget(this);
    this.#receiver?.stop();
    if (!connected) return;
    const { engine, table } = this.parts;
    engine.shutdown(this.#slot);
    engine.close(this.#slot, table.client, table.tag(this.#index, Operation.close));
  }

  #gone(): void {
    this.#state = 'closed';
    const { memory, table } = this.parts;
    for (const buffer of this.#buffers) if (buffer >= 0) memory.drop(buffer);
    this.#buffers.length = 0;
    this.#receiver?.destroy();
    if (this.#sender !== null) memory.giveSendArea(this.#sender.areaOffset);
    table.remove(this.#index);
    this.onGone(this);
  }
}

/** What the request costs of the connection's bytes. */
function dataBytes(request: PathRequest): number {
  return request.op === IoOp.read || request.op === IoOp.write ? request.lengthBytes : 0;
}

function encodeInto(frame: Uint8Array, header: FrameHeader): void {
  encodeHeader(new DataView(frame.buffer), 0, header);
}

/** 0: the end of the stream. */
const lossOf = (error: number): PathLoss => (error === 0 || error === EPIPE || error === ECONNRESET ? 'hung-up' : 'lost');
