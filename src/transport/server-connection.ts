import type { Slot } from 'uring-engine';
import { decodeControl, encodeControl, WireFormatError } from '../wire/control.js';
import { createHeader, encodeHeader, FrameType, type FrameHeader } from '../wire/frame.js';
import { heartbeatReply } from '../wire/heartbeat.js';
import { chooseVersion, helloMessage, versionMismatch, type HelloReply } from '../wire/hello.js';
import { checkIoRequest } from '../wire/io.js';
import { HEADER_BYTES, IDLE_CONNECTION_MS } from '../wire/limits.js';
import { Blocker, type StargatePath } from '../wire/path.js';
import { checkPeerOpen, peerOpen, type PeerOpen } from '../wire/peer-open.js';
import type { OpenedSession, SessionEnd, SessionListener, SessionRefusal } from '../wire/serving.js';
import { sessionHandover, sessionOpen, type SessionHandoverMessage, type SessionOpen } from '../wire/session.js';
import { checkIsNode, checkNode } from './certified.js';
import { Operation, type TableEntry } from './connection-table.js';
import { FrameReceiver, KEEP, REFUSE, WAIT, type FrameHandler } from './frame-receiver.js';
import { FrameSender } from './frame-sender.js';
import { concat, helloFrame } from './hello-frame.js';
import { CHUNK_BYTES, INLINE_BYTES } from './limits.js';
import { newShareCounts, type MemoryShare } from './memory.js';
import { PeerInput } from './peer-input.js';
import { ServerIo } from './server-io.js';
import type { TlsPeer } from './tls/credentials.js';
import type { ServerParts } from './unix-server.js';

/**
 * hello ─▶ session (HELLO is answered) ─▶ opening (asks the vdisk's controller) ─▶ serving
 *              ├─▶ moving (sends what is to be sent, then goes to the shard it is for and is 'opening', or 'peer', there)
 *              └─▶ peer (another Stargate speaks to this shard)
 * to ending (what is to be said is sent, then closed) and closing (until the socket's last completion) from each.
 */
type State = 'hello' | 'session' | 'moving' | 'opening' | 'serving' | 'peer' | 'ending' | 'closing' | 'gone';

/** What a connection asks for: its session, or the end of it, or to speak as another Stargate. */
export type ConnectionPurpose =
  { readonly kind: 'open' | 'close'; readonly session: SessionOpen } | { readonly kind: 'peer'; readonly open: PeerOpen };

const MS = 1e6;
/** Instead of a shard: to who serves the metadata store. */
const META = -2;

/** The server's end of a connection, in the shard that accepted it and then in that of its vdisk. */
export class ServerConnection implements TableEntry, FrameHandler, MemoryShare, SessionListener {
  readonly held = newShareCounts();
  readonly #index: number;
  readonly #receiver: FrameReceiver;
  readonly #sender: FrameSender;
  #state: State = 'hello';
  #isStargate = false;
  #purpose: ConnectionPurpose | null = null;
  #toShard = -1;
  #vdiskId = '';
  #hello = NOTHING;
  #io: ServerIo | null = null;
  #peer: PeerInput | null = null;
  #term = 0;
  /** A large payload on its way into its buffer. */
  #placed = -1;
  /** The receiver was told to wait until something outstanding is answered. */
  #stalled = false;
  #touched = false;
  readonly #header = createHeader();

  /** Throws ServerFullError when the shard has no room for a connection; the slot stays the caller's. */
  constructor(
    private readonly parts: ServerParts,
    private readonly slot: Slot,
    /** Who a certificate says it is; null: nobody was asked, or it was checked where the connection comes from. */
    private readonly certified: TlsPeer | null = null,
  ) {
    const { engine, table, memory } = parts;
    const area = memory.takeSendArea();
    const chunk = memory.take(CHUNK_BYTES, this);
    const index = table.add(this);
    if (area < 0 || chunk < 0 || index < 0) {
      if (area >= 0) memory.giveSendArea(area);
      if (chunk >= 0) memory.drop(chunk);
      if (index >= 0) table.remove(index);
      throw new ServerFullError();
    }
    this.#index = index;
    this.#receiver = new FrameReceiver(engine, memory, this, slot, table.client, table.tag(index, Operation.recv), this, chunk);
    this.#sender = new FrameSender(engine, slot, table.client, table.tag(index, Operation.send), area);
  }

  /** A new connection: waits for its HELLO. */
  start(): void {
    this.#receiver.resume();
  }

  /** A connection from another shard, whose HELLO and request are read already. */
  takeOver(purpose: ConnectionPurpose, leftover: Uint8Array): void {
    this.#receiver.prime(leftover);
    this.#arrive(purpose);
  }

  /** Which shard of which Stargate speaks here; null for a session. */
  get peerKey(): string | null {
    return this.#peer?.key ?? null;
  }

  // ---------------------------------------------------------------- completions

  onCompletion(operation: number, result: number): void {
    if (operation === Operation.recv) this.#receiver.onReceived(result);
    else if (operation === Operation.send) this.#onSent(result);
    else if (operation === Operation.close) this.#gone();
  }

  onMemory(): void {
    if (this.#state !== 'closing' && this.#state !== 'gone') this.#resume();
  }

  /** Now and then: ends a connection that says nothing, or does not read what it is told. */
  onTick(nowNs: number): void {
    const waits = this.#state === 'opening' || this.#state === 'closing' || this.#state === 'gone';
    if (!waits && nowNs - this.#receiver.lastReceivedNs > IDLE_CONNECTION_MS * MS) this.#tearDown();
  }

  onTurnEnd(): void {
    this.#touched = false;
    if (this.#state === 'closing' || this.#state === 'gone') return;
    if (this.#sender.begin()) {
      this.#io?.gather(this.#sender, this.parts.engine.arena.view);
      this.#sender.go();
    }
    if (!this.#sender.idle || this.#io?.hasAnswers === true) return;
    if (this.#state === 'moving') this.#move();
    else if (this.#state === 'ending') this.#tearDown();
  }

  #onSent(result: number): void {
    this.#sender.onSent();
    this.#io?.onSent();
    if (this.#state === 'closing') return;
    if (result < 0) {
      this.#tearDown();
      return;
    }
    if (this.#stalled) this.#resume();
    this.#touch();
  }

  readonly #touch = (): void => {
    if (this.#touched) return;
    this.#touched = true;
    this.parts.table.touch(this);
  };

  #resume(): void {
    this.#stalled = false;
    const receiving = this.#state === 'hello' || this.#state === 'session' || this.#state === 'serving' || this.#state === 'peer';
    if (receiving) this.#receiver.resume();
  }

  // ---------------------------------------------------------------- frames

  place(header: FrameHeader): number {
    const isRequest = header.type === FrameType.ioRequest;
    if (!isRequest && !isPeerFrame(header.type)) return KEEP;
    let fault: string | null = 'ERR_WIRE_ORDER';
    if (isRequest && this.#state === 'serving') fault = checkIoRequest(header);
    else if (!isRequest && this.#state === 'peer') fault = this.#peer!.check(header);
    if (fault !== null) {
      this.onFault(fault);
      return REFUSE;
    }
    if (isRequest && !this.#io!.hasRoom(header)) {
      this.#stalled = true;
      return WAIT;
    }
    if (header.payloadBytes <= INLINE_BYTES) return KEEP;
    this.#placed = this.parts.memory.take(header.payloadBytes, this);
    if (this.#placed >= 0) return this.#placed;
    this.parts.memory.wait(this);
    return WAIT;
  }

  onFrame(header: FrameHeader, payloadOffset: number): void {
    if (header.type === FrameType.ioRequest) {
      if (this.#placed < 0 && header.payloadBytes > 0) this.parts.memory.hold(payloadOffset);
      this.#placed = -1;
      this.#io!.submit(header, header.payloadBytes > 0 ? payloadOffset : -1);
      return;
    }
    if (header.type === FrameType.heartbeat && (this.#state === 'serving' || this.#state === 'peer')) {
      const frame = new Uint8Array(HEADER_BYTES);
      encodeHeader(new DataView(frame.buffer), 0, this.#beat(header.clientSeq));
      this.#control(frame);
      return;
    }
    try {
      if (isPeerFrame(header.type)) this.#onPeerFrame(header, payloadOffset);
      else this.#onControl(header.type, this.parts.engine.arena.bytes.subarray(payloadOffset, payloadOffset + header.payloadBytes));
    } catch (error) {
      if (!(error instanceof WireFormatError)) throw error;
      this.#fail(error.code, error.message);
    }
  }

  #beat(number: number): FrameHeader {
    const io = this.#io;
    return heartbeatReply(this.#header, number, io?.oldestAgeUs() ?? 0, io?.blockedBy() ?? Blocker.unknown, this.#term);
  }

  /** Nothing of its payload is used any more when this returns. */
  #onPeerFrame(header: FrameHeader, payloadOffset: number): void {
    const placed = this.#placed;
    this.#placed = -1;
    try {
      const fault = this.#peer!.onFrame(header, payloadOffset);
      if (fault !== null) this.onFault(fault);
    } finally {
      if (placed >= 0) this.parts.memory.drop(placed);
    }
  }

  onFault(fault: string): void {
    this.#fail(fault, 'what was received is no valid frame at this point of the protocol');
  }

  onLost(): void {
    this.#tearDown();
  }

  #onControl(type: number, payload: Uint8Array): void {
    if (type === FrameType.hello && this.#state === 'hello') this.#onHello(payload);
    else if (this.#isOpening(type)) {
      const kind = type === FrameType.sessionOpen ? 'open' : 'close';
      this.#routeSession({ kind, session: decodeControl(sessionOpen, payload) });
    } else if (type === FrameType.sessionHandover && this.#state === 'serving') this.#onHandover(decodeControl(sessionHandover, payload));
    else if (type === FrameType.peerOpen && this.#state === 'session' && this.#isStargate)
      this.#routePeer(decodeControl(peerOpen, payload));
    else this.#outOfTurn(type);
  }

  #outOfTurn(type: number): void {
    this.#fail('ERR_WIRE_ORDER', `a frame of type ${type} is not expected now`);
  }

  #onHello(payload: Uint8Array): void {
    const hello = decodeControl(helloMessage, payload);
    const version = chooseVersion(hello);
    if (version === null) {
      const { code, message } = versionMismatch(hello);
      this.#fail(code, message);
      return;
    }
    const refusal = hello.role === 'stargate' ? checkIsNode(this.certified) : null;
    if (refusal !== null) {
      this.#fail(refusal.code, refusal.message);
      return;
    }
    if (hello.role === 'meta') {
      this.#routeMeta(payload);
      return;
    }
    const { software, limits } = this.parts;
    const reply: HelloReply = { version, software, maxRequests: limits.maxRequests, maxBytes: limits.maxBytes };
    this.#state = 'session';
    this.#isStargate = hello.role === 'stargate';
    this.#control(encodeControl(FrameType.helloReply, reply));
  }

  #isOpening(type: number): boolean {
    return (type === FrameType.sessionOpen || type === FrameType.sessionClose) && this.#state === 'session' && !this.#isStargate;
  }

  // ---------------------------------------------------------------- to the shard it is for

  #routeSession(purpose: ConnectionPurpose & { kind: 'open' | 'close' }): void {
    const shard = this.parts.serving.shardOf(purpose.session.vdiskId);
    if (shard < 0) this.onRefused('not-served', `this Stargate does not serve vdisk ${purpose.session.vdiskId} now`);
    else this.#route(purpose, shard);
  }

  #routePeer(open: PeerOpen): void {
    const acceptor = this.parts.peers();
    const refusal = acceptor === null ? NO_PEERS : (checkNode(this.certified, open.from.node) ?? checkPeerOpen(open, acceptor.self));
    if (refusal === null) this.#route({ kind: 'peer', open }, open.toShard);
    else this.#fail(refusal.code, refusal.message);
  }

  /** Who serves the metadata reads the HELLO again. */
  #routeMeta(hello: Uint8Array): void {
    if (this.parts.moveMeta === undefined) {
      this.#fail('ERR_WIRE_ORDER', 'the metadata is not served here');
      return;
    }
    this.#hello = helloFrame(hello);
    this.#leaveFor(META);
  }

  #route(purpose: ConnectionPurpose, shard: number): void {
    if (shard === this.parts.shard) {
      this.#arrive(purpose);
      return;
    }
    this.#purpose = purpose;
    this.#leaveFor(shard);
  }

  #leaveFor(shard: number): void {
    this.#receiver.pause();
    this.#toShard = shard;
    this.#state = 'moving';
    this.#touch();
  }

  #arrive(purpose: ConnectionPurpose): void {
    if (purpose.kind === 'peer') {
      this.#startPeer(purpose.open);
      return;
    }
    this.#receiver.pause();
    this.#vdiskId = purpose.session.vdiskId;
    this.#state = 'opening';
    if (purpose.kind === 'close') this.parts.serving.closeSession(purpose.session, this.#onSessionClosed);
    else this.parts.serving.openSession(purpose.session, this);
  }

  #startPeer(open: PeerOpen): void {
    const acceptor = this.parts.peers();
    if (acceptor === null) {
      this.#fail(NO_PEERS.code, NO_PEERS.message);
      return;
    }
    this.#peer = new PeerInput(this.parts.engine, open, acceptor, this.parts.shard);
    this.#state = 'peer';
    this.parts.onPeer(this);
    this.#control(encodeControl(FrameType.peerOpened, {}));
    this.#receiver.resume();
  }

  // ---------------------------------------------------------------- the session

  #onHandover({ vdiskId, to }: SessionHandoverMessage): void {
    if (vdiskId === this.#vdiskId) this.parts.serving.requestHandover?.(vdiskId, to);
    else this.#fail('ERR_WIRE_ORDER', 'a handover of another vdisk than that of the session was asked for');
  }

  readonly #onSessionClosed = (): void => {
    if (this.#state !== 'opening') return;
    this.#control(encodeControl(FrameType.sessionClosed, {}));
    this.#end();
  };

  onOpened(path: StargatePath, session: OpenedSession): void {
    if (this.#state !== 'opening') {
      path.close();
      return;
    }
    const { memory, pool, limits, engine } = this.parts;
    this.#io = new ServerIo(path, memory, pool, limits, () => engine.nowNs, this.#touch);
    this.#term = session.term;
    this.#state = 'serving';
    this.#control(encodeControl(FrameType.sessionOpened, { term: session.term, sizeBytes: session.sizeBytes }));
    this.#receiver.resume();
  }

  onRefused(reason: SessionRefusal, message: string, node?: string): void {
    if (this.#state !== 'opening' && this.#state !== 'session') return;
    this.#control(encodeControl(FrameType.sessionRefused, { reason, message: message.slice(0, 4_000), node }));
    this.#end();
  }

  onEnded(reason: SessionEnd, node?: string): void {
    if (this.#state !== 'serving') return;
    this.#control(encodeControl(FrameType.sessionEnded, { reason, node }));
    this.#end();
  }

  /** The server stops: the client is to go elsewhere, or to come back. */
  stop(): void {
    if (this.#state === 'serving') this.onEnded('fenced');
    else if (this.#state !== 'ending') this.#tearDown();
  }

  #move(): void {
    const leftover = this.#receiver.leftover();
    const fd = this.parts.engine.release(this.slot);
    if (this.#toShard === META) this.parts.moveMeta!({ fd, leftover: concat(this.#hello, leftover) });
    else this.parts.move(this.#toShard, { fd, leftover, purpose: this.#purpose! });
    this.#receiver.stop();
    this.#gone();
  }

  // ---------------------------------------------------------------- ends

  #control(frame: Uint8Array): void {
    if (this.#sender.addControl(frame)) this.#touch();
    else this.#tearDown();
  }

  #fail(code: string, message: string): void {
    if (this.#state === 'ending' || this.#state === 'closing') return;
    this.parts.log.log('warn', 'a connection to the Stargate socket was refused', { code, message });
    this.#control(encodeControl(FrameType.error, { code, message }));
    this.#end();
  }

  /** Closes when what is to be said has been sent. */
  #end(): void {
    if (this.#state === 'closing') return;
    this.#state = 'ending';
    this.#receiver.stop();
    this.#io?.close();
    this.#touch();
  }

  #tearDown(): void {
    if (this.#state === 'closing' || this.#state === 'gone') return;
    if (this.#state !== 'ending') this.#io?.close();
    this.#state = 'closing';
    this.#receiver.stop();
    this.parts.memory.forget(this);
    const { engine, table } = this.parts;
    engine.shutdown(this.slot);
    engine.close(this.slot, table.client, table.tag(this.#index, Operation.close));
  }

  /** The socket has let go of all memory. */
  #gone(): void {
    this.#state = 'gone';
    const { memory, table } = this.parts;
    this.#io?.onSent();
    if (this.#placed >= 0) memory.drop(this.#placed);
    this.#receiver.destroy();
    memory.giveSendArea(this.#sender.areaOffset);
    memory.forget(this);
    table.remove(this.#index);
    this.parts.onGone(this);
  }
}

const NOTHING = new Uint8Array(0);

const NO_PEERS = { code: 'ERR_PEER_NOT_READY', message: 'this Stargate takes no part in replication now' } as const;

function isPeerFrame(type: number): boolean {
  return type === FrameType.replica || type === FrameType.peerVdisk;
}

export class ServerFullError extends Error {
  readonly code = 'ERR_SERVER_FULL';
  constructor() {
    super('this shard has no room for another connection');
    this.name = 'ServerFullError';
  }
}
