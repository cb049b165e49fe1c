import { Gather } from 'uring-engine';
import type { Session } from '../../src/datapath/session.js';
import type { SessionFrontEnd, SessionRequest } from '../../src/datapath/session-request.js';
import { IoOp } from '../../src/wire/path.js';
import type { SessionRequest as SessionIdentity } from '../../src/wire/serving.js';
import { IoStatus } from '../../src/wire/status.js';
import { fillPayload, valuesOf } from './content.js';
import type { Piece } from './history.js';
import type { Load, Vdisk } from './load.js';
import { traceKind } from './trace.js';
import type { Wish } from './workload.js';

const OP_NAMES = Object.fromEntries(Object.entries(IoOp).map(([name, op]) => [op, name]));
const STATUS_NAMES = Object.fromEntries(Object.entries(IoStatus).map(([name, status]) => [status, name]));

const Asked = traceKind(
  (client, op, kind, offset, length) => `client ${client}: #${op} ${OP_NAMES[kind]} ${offset / 4096}+${length / 4096} blocks`,
);
const Answered = traceKind((client, op, kind, status) => `client ${client}: #${op} ${OP_NAMES[kind]} is answered: ${STATUS_NAMES[status]}`);
const Opened = traceKind((client, term, replayed) => `client ${client}: session open, term ${term}, ${replayed} requests come again`);
const Lost = traceKind(client => `client ${client}: has lost its path`);
const Died = traceKind((client, open) => `client ${client}: dies with ${open} changes open`);

/** How the session of a client gets its paths. */
export interface ClientPaths {
  readonly session: Session;
  enter(call: () => void): void;
  cut(): void;
  stall(forNs: number): void;
  /** The client dies. */
  close(): void;
}

/** One operation, from its call to its answer. */
export interface Operation {
  readonly op: number;
  readonly wish: Wish;
  readonly pieces: readonly Piece[];
  /** Of its payload in the arena, or -1. */
  readonly buffer: number;
  readonly startedNs: number;
  onAnswer: ((status: IoStatus, values: readonly (readonly number[])[]) => void) | null;
}

/** A production session of one vdisk, with a front end that notes what it asks for and what it gets. */
export class Client implements SessionFrontEnd {
  readonly number: number;
  readonly session: Session;
  readonly paths: ClientPaths;
  readonly outstanding = new Map<number, Operation>();
  isDead = false;
  hasOpened = false;
  /** Of the deaths of its node, those that a FLUSH has told of, or that are none of its business. */
  heardDeaths = 0;
  /** Whether the answer has come that told so is not known at the other end. */
  #mayHearAgain = false;
  /** Changes whose answers say nothing new any more. */
  readonly #settled = new Set<Operation>();
  /** The session is over: another datapath's has ended it. */
  get isOver(): boolean {
    return this.session.state.kind === 'closed';
  }
  /** Called once for each path. */
  onOpened: () => void = () => undefined;

  constructor(
    readonly world: Load,
    readonly vdisk: Vdisk,
    readonly identity: SessionIdentity,
    /** Of {@link createTermFloor}: the datapath's. */
    floor: SharedArrayBuffer,
    isDirect: boolean,
  ) {
    this.number = world.nextClient++;
    this.paths = world.makePaths(this, floor, isDirect);
    this.session = this.paths.session;
    this.session.start();
  }

  // ---------------------------------------------------------------- what it asks for

  ask(wish: Wish, onAnswer: Operation['onAnswer'] = null): void {
    const { world, vdisk, session } = this;
    const op = world.nextOperation++;
    const pieces = vdisk.workload.pieces(wish);
    const isWrite = wish.op === IoOp.write;
    const buffer = isWrite ? world.memory.takeBuffer() : -1;
    const operation: Operation = { op, wish, pieces, buffer, startedNs: world.clock.nowNs, onAnswer };
    this.outstanding.set(op, operation);
    world.trace.add(Asked, this.number, op, wish.op, wish.offsetBytes, wish.lengthBytes);
    if (wish.op === IoOp.read) vdisk.history.read(op, pieces);
    else if (wish.op === IoOp.flush) vdisk.history.flush(op);
    else vdisk.history.write(op, pieces, !isWrite);
    const request = session.acquire();
    request.set(wish.op, wish.offsetBytes, wish.lengthBytes, this, operation);
    request.fua = wish.fua === true;
    if (isWrite) {
      fillPayload(world.memory.arena, buffer, op, wish.offsetBytes, wish.lengthBytes);
      request.payload = new Gather(1);
      request.payload.add(buffer, wish.lengthBytes);
    } else if (wish.op === IoOp.read) request.data = new Gather(64);
    this.enter(() => session.submit(request));
  }

  /** Runs something of the session where its path may be used. */
  enter(call: () => void): void {
    this.paths.enter(call);
  }

  onAnswer(request: SessionRequest): void {
    const operation = request.context as Operation;
    const { op, wish } = operation;
    const { world, vdisk } = this;
    const { status } = request;
    world.trace.add(Answered, this.number, op, wish.op, status);
    this.#forget(operation);
    let values: number[][] = [];
    if (status === IoStatus.ok) {
      if (wish.op === IoOp.read) {
        values = valuesOf(world.memory.arena, request.data, wish.offsetBytes, operation.pieces);
        this.session.release(request);
        vdisk.history.hasRead(op, values, request.term);
      } else if (wish.op === IoOp.flush) vdisk.history.flushed(op, this.number, request.term);
      else this.#end(operation, () => vdisk.history.wrote(op, wish.fua === true, request.term));
    } else if (isChange(operation)) this.#end(operation, () => vdisk.history.settled(op));
    else if (status === IoStatus.lost) vdisk.history.notFlushed(op, this.number, request.term);
    world.answered(this, operation, status, request.term);
    operation.onAnswer?.(status, values);
  }

  /** Without a word: what was open may take effect until the node has ended the session. */
  die(): Operation[] {
    this.enter(() => this.paths.close());
    this.isDead = true;
    const open = [...this.outstanding.values()].filter(one => isChange(one) && !this.#settled.has(one));
    this.world.trace.add(Died, this.number, open.length);
    for (const operation of [...this.outstanding.values()]) this.#forget(operation);
    return open;
  }

  /** Another attachment holds the vdisk: what of its changes has not taken effect by now never will. */
  settle(): void {
    for (const operation of this.outstanding.values()) {
      if (!isChange(operation) || this.#settled.has(operation)) continue;
      this.#settled.add(operation);
      this.vdisk.history.settled(operation.op);
    }
  }

  /** The change has its answer. */
  #end(operation: Operation, tell: () => void): void {
    if (!this.#settled.delete(operation)) tell();
  }

  /** A FLUSH has told it that changes may be lost. False: it has no reason to, and must not. */
  hearsOfLoss(): boolean {
    const isDue = this.world.deaths > this.heardDeaths || this.#mayHearAgain;
    this.heardDeaths = this.world.deaths;
    this.#mayHearAgain = false;
    return isDue && this.world.deaths > 0;
  }

  #forget(operation: Operation): void {
    this.outstanding.delete(operation.op);
    if (operation.buffer >= 0) this.world.memory.buffers.give(operation.buffer);
  }

  // ---------------------------------------------------------------- its path

  /** The connection breaks. */
  cut(): void {
    this.paths.cut();
  }

  /** Answers do not arrive any more, and after that time the connection breaks: what was asked for has happened, or not. */
  stall(forNs: number): void {
    this.paths.stall(forNs);
  }

  /** To be called by whoever has opened a path for it. */
  opened(term: number, replayed: number): void {
    this.world.trace.add(Opened, this.number, term, replayed);
    this.hasOpened = true;
    this.onOpened();
  }

  lost(): void {
    this.#mayHearAgain = true;
    this.world.trace.add(Lost, this.number);
  }
}

const isChange = ({ wish: { op } }: Operation): boolean => op === IoOp.write || op === IoOp.zero || op === IoOp.trim;
