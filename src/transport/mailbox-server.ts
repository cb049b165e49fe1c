import type { ShardContext } from '../shard/context.js';
import type { MailboxReceiver } from '../shard/mailbox.js';
import { MESSAGE_CELLS } from '../shard/limits.js';
import { MessageKind } from '../shard/message-kinds.js';
import { IoOp, MAX_IO_BYTES, type PathRequest, type PathRequestOwner, type StargatePath } from '../wire/path.js';
import type { OpenedSession, SessionEnd, SessionListener, SessionRefusal, VdiskServing } from '../wire/serving.js';
import { IoStatus } from '../wire/status.js';
import { MAX_MAILBOX_SESSIONS } from './limits.js';
import {
  REPLY_FIRST_VALUE,
  SUBMIT_FIRST_RANGE,
  SUBMIT_FUA,
  Topic,
  type CloseSessionMessage,
  type EndedMessage,
  type OpenedMessage,
  type OpenMessage,
  type RefusedMessage,
} from './mailbox-messages.js';
import { addRange, extentOf, putValues, rangeOf } from './mailbox-ranges.js';
import { ServedRequestPool, type ServedRequest } from './served-request.js';

/** One path of another shard into a controller of this one. */
class MailboxSession implements SessionListener, PathRequestOwner {
  #path: StargatePath | null = null;
  #closed = false;
  /** By the requester's tag: at the controller, or answered with data that is not released. */
  readonly #requests: (ServedRequest | null)[] = [];
  #held = 0;
  /** A request of which ranges are to follow. */
  #partial: ServedRequest | null = null;
  #partialLeft = 0;
  #closeAnswered = false;

  constructor(
    private readonly server: MailboxServer,
    private readonly context: ShardContext,
    private readonly pool: ServedRequestPool,
    readonly from: number,
    readonly number: number,
  ) {}

  // ---------------------------------------------------------------- from the controller

  onOpened(path: StargatePath, session: OpenedSession): void {
    if (this.#closed) {
      path.close();
      return;
    }
    this.#path = path;
    const message: OpenedMessage = { path: this.number, session };
    this.context.send(this.from, Topic.opened, message);
  }

  onRefused(reason: SessionRefusal, text: string, node?: string): void {
    this.server.forget(this);
    if (this.#closed) return;
    const message: RefusedMessage = { path: this.number, reason, message: text, node };
    this.context.send(this.from, Topic.refused, message);
  }

  onEnded(reason: SessionEnd, node?: string): void {
    this.#giveUp();
    const message: EndedMessage = { path: this.number, reason, node };
    this.context.send(this.from, Topic.ended, message);
  }

  onReply(pathRequest: PathRequest): void {
    const request = pathRequest as ServedRequest;
    const { mailbox } = this.context;
    const ok = request.status === IoStatus.ok;
    const ranges = ok && request.op === IoOp.read ? request.data.count : 0;
    const extents = ok && request.op === IoOp.map ? request.extentCount : 0;
    const at = mailbox.post(this.from, MessageKind.ioReply);
    const cells = mailbox.cellsFor(this.from);
    cells[at + 1] = this.number;
    cells[at + 2] = request.tag;
    cells[at + 3] = request.status;
    cells[at + 4] = request.term;
    cells[at + 5] = ranges + extents;
    if (ranges > 0) putValues(mailbox, this.from, at, REPLY_FIRST_VALUE, MessageKind.ioReplyMore, request.data, ranges, rangeOf);
    if (extents > 0) putValues(mailbox, this.from, at, REPLY_FIRST_VALUE, MessageKind.ioReplyMore, request.extents, extents, extentOf);
    if (ok && request.op === IoOp.read) {
      request.answered = true;
      this.#held++;
      return;
    }
    this.#requests[request.tag] = null;
    this.pool.give(request);
  }

  // ---------------------------------------------------------------- from the requester

  onSubmit(cells: Float64Array, at: number): void {
    // Ended meanwhile: the requester is being told, and sends it again elsewhere.
    if (this.#closed) return;
    const request = this.pool.take();
    request.prepare((cells[at + 3]! % SUBMIT_FUA) as IoOp, this);
    request.fua = cells[at + 3]! >= SUBMIT_FUA;
    request.tag = cells[at + 2]!;
    request.offsetBytes = cells[at + 4]!;
    request.lengthBytes = cells[at + 5]!;
    request.clientSeq = cells[at + 6]!;
    request.lowWater = cells[at + 7]!;
    this.#requests[request.tag] = request;
    this.#partialLeft = cells[at + 8]!;
    this.#take(request, cells, at + SUBMIT_FIRST_RANGE, at + MESSAGE_CELLS);
  }

  onSubmitMore(cells: Float64Array, at: number): void {
    if (this.#partial !== null) this.#take(this.#partial, cells, at + 1, at + MESSAGE_CELLS);
  }

  onRelease(tag: number): void {
    const request = this.#requests[tag]!;
    this.#requests[tag] = null;
    this.#path!.release(request);
    this.pool.give(request);
    this.#held--;
    this.#checkDone();
  }

  onClose(): void {
    if (!this.#closed) this.#giveUp();
    const { mailbox } = this.context;
    const at = mailbox.post(this.from, MessageKind.sessionClosed);
    mailbox.cellsFor(this.from)[at + 1] = this.number;
    this.#closeAnswered = true;
    this.#checkDone();
  }

  #take(request: ServedRequest, cells: Float64Array, from: number, to: number): void {
    const end = Math.min(to, from + this.#partialLeft);
    for (let i = from; i < end; i++) addRange(request.payload, cells[i]!);
    this.#partialLeft -= end - from;
    this.#partial = this.#partialLeft > 0 ? request : null;
    if (this.#partial === null) this.#path!.submit(request);
  }

  /** The controller lets go of everything unanswered; answered reads stay until they are released. */
  #giveUp(): void {
    this.#closed = true;
    this.#partial = null;
    this.#path?.close();
    for (let tag = 0; tag < this.#requests.length; tag++) {
      const request = this.#requests[tag] ?? null;
      if (request === null || request.answered) continue;
      this.#requests[tag] = null;
      this.pool.give(request);
    }
  }

  #checkDone(): void {
    if (this.#closeAnswered && this.#held === 0) this.server.forget(this);
  }
}

/** Serves the vdisks of one shard to the sessions of the process's other shards. */
export class MailboxServer implements MailboxReceiver {
  /** By requesting shard, by number of the path. */
  readonly #sessions: Map<number, MailboxSession>[] = [];
  readonly #partial: (MailboxSession | null)[] = [];
  readonly #pool = new ServedRequestPool(MAX_IO_BYTES / 4_096 + 2);
  #count = 0;

  constructor(
    private readonly context: ShardContext,
    private readonly serving: VdiskServing,
  ) {
    const { mailbox } = context;
    for (let shard = 0; shard < context.count; shard++) this.#sessions.push(new Map());
    for (const kind of [MessageKind.ioSubmit, MessageKind.ioSubmitMore, MessageKind.ioRelease, MessageKind.closeSession])
      mailbox.on(kind, this);
    context.onMessage(Topic.open, (message, from) => this.#open(message as OpenMessage, from));
    context.onMessage(Topic.closeSession, (message, from) => this.#closeSession(message as CloseSessionMessage, from));
  }

  get sessions(): number {
    return this.#count;
  }

  onMessage(from: number, cells: Float64Array, at: number): void {
    const kind = cells[at]!;
    if (kind === MessageKind.ioSubmitMore) {
      this.#partial[from]?.onSubmitMore(cells, at);
      return;
    }
    const session = this.#sessions[from]!.get(cells[at + 1]!);
    if (kind === MessageKind.ioSubmit) {
      this.#partial[from] = session ?? null;
      session?.onSubmit(cells, at);
    } else if (kind === MessageKind.ioRelease) session!.onRelease(cells[at + 2]!);
    else session?.onClose();
  }

  forget(session: MailboxSession): void {
    if (this.#sessions[session.from]!.delete(session.number)) this.#count--;
  }

  #open({ path, session }: OpenMessage, from: number): void {
    if (this.#count === MAX_MAILBOX_SESSIONS) {
      const refused: RefusedMessage = { path, reason: 'busy', message: `this shard serves ${MAX_MAILBOX_SESSIONS} sessions already` };
      this.context.send(from, Topic.refused, refused);
      return;
    }
    const opened = new MailboxSession(this, this.context, this.#pool, from, path);
    this.#sessions[from]!.set(path, opened);
    this.#count++;
    this.serving.openSession(session, opened);
  }

  #closeSession({ path, session }: CloseSessionMessage, from: number): void {
    this.serving.closeSession(session, () => this.context.send(from, Topic.sessionClosed, { path }));
  }
}
