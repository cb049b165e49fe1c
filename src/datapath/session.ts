import type { Gather } from 'uring-engine';
import type { SessionProbes } from '../base/probe.js';
import { IoOp, type PathRequestOwner, type StargatePath, type PathRequest } from '../wire/path.js';
import type { PathLoss } from '../transport/path-listener.js';
import type { SessionEnd, SessionRefusal } from '../wire/serving.js';
import { IoStatus } from '../wire/status.js';
import { DIES_WITHIN_MS } from './limits.js';
import { Outstanding } from './outstanding.js';
import type { SessionCounters, SessionPorts } from './session-ports.js';
import { SessionRequest } from './session-request.js';

/**
 * One datapath shard's session of one vdisk (replication rules 14 to 19): numbers the requests, sends them down its path, holds each until it is
 * answered ({@link Outstanding}), and replays those that are not, in order and before anything newer, whenever the path has changed. Pure: paths, timers and
 * time come through ports. Knows nothing of NBD.
 *
 * ```
 *                 open                 opened
 * disconnected ──────────▶ opening ──────────────▶ open
 *      ▲  ▲                   │ refused, lost       │ lost, fenced
 *      │  └───────────────────┘                     │
 *      └────────────────────────────────────────────┘
 *            rest: from opening, open ──▶ disconnected; ended (closed elsewhere), detach: from each state ──▶ closed
 * ```
 */
export type SessionState =
  | { readonly kind: 'disconnected' }
  | { readonly kind: 'opening' }
  | { readonly kind: 'open'; readonly path: StargatePath }
  | { readonly kind: 'closed'; readonly by: 'detach' | 'other' };

type SessionEvent = 'open' | 'opened' | 'refused' | 'lost' | 'fenced' | 'rest' | 'ended' | 'detach';

const TRANSITIONS: Readonly<Record<SessionState['kind'], Partial<Record<SessionEvent, SessionState['kind']>>>> = {
  // First use, or the retry timer.
  disconnected: { open: 'opening', ended: 'closed', detach: 'closed' },
  // Refused: not served here now; lost: no connection. Both are tried again after a delay.
  opening: { opened: 'open', refused: 'disconnected', lost: 'disconnected', rest: 'disconnected', ended: 'closed', detach: 'closed' },
  // Fenced: the controller is no longer the one (an answer, or a term below the floor). The outcome of what is outstanding is unknown: replay.
  open: { lost: 'disconnected', fenced: 'disconnected', rest: 'disconnected', ended: 'closed', detach: 'closed' },
  closed: {},
};

export class Session implements PathRequestOwner {
  readonly counters: SessionCounters = { opened: 0, lost: 0, replayed: 0, belowFloor: 0, staleEvents: 0, givenUp: 0 };
  #state: SessionState = { kind: 'disconnected' };
  /** Number of the latest attempt to open a path; what comes for another one is stale (rule 8). */
  #epoch = 0;
  #failures = 0;
  /** Without a path, and looking for none, before somebody wants to use it. */
  #resting = true;
  /** It has given up what it had sent, and has had no path since: one of {@link TermFloor.unsettled}. */
  #isUnsettled = false;
  /** Of the controller that the path leads to, or led to last. */
  #term = 0;
  /** That one has hung up, and with it the second controller that had these requests; proved by the next one's term. */
  #accused: readonly SessionRequest[] = [];
  readonly #requests = new Outstanding();
  #probes: SessionProbes | null = null;
  #sending = false;
  /** The last answer, or the first request after none was outstanding; and the longest time from one to the next since the path was last lost. */
  #progressNs = 0;
  #gapNs = 0;
  #free: SessionRequest | null = null;
  #allocated = 0;

  constructor(
    private readonly ports: SessionPorts,
    /** An empty list that requests without payload or data refer to. */
    private readonly nothing: Gather,
  ) {}

  get state(): SessionState {
    return this.#state;
  }

  /** Arrival of the oldest request that is not answered; Infinity: there is none. */
  get oldestNs(): number {
    return this.#requests.oldest?.arrivedNs ?? Infinity;
  }

  get unanswered(): number {
    return this.#requests.unanswered;
  }

  /** Those behind them, which have no number yet. */
  get waiting(): number {
    return this.#requests.waiting;
  }

  /** Payload of the writes that are not answered: it is kept where it was received, to be sent again. */
  get heldBytes(): number {
    return this.#requests.heldBytes;
  }

  /** Longest time without an answer while requests were outstanding: since the last loss of the path, that outage included; the time that goes on now too. */
  get gapNs(): number {
    return Math.max(this.#gapNs, this.#requests.isEmpty ? 0 : this.ports.nowNs() - this.#progressNs);
  }

  /** Number of the next request that is sent: all below have been answered when nothing is outstanding. */
  get nextSeq(): number {
    return this.#requests.nextSeq;
  }

  /** Opens the path ahead of the first request. No effect unless it rests. */
  start(): void {
    if (!this.#resting) return;
    if (!this.ports.floor.isHeld()) return this.#open();
    this.#resting = false;
    this.ports.startRetry(this.#epoch, this.#failures);
  }

  /** Another process has used the session up to here; before the first use. */
  goOnFrom(nextSeq: number): void {
    if (this.#epoch > 0 || this.#requests.nextSeq > 1) throw new Error('session: in use already');
    this.#requests.goOnFrom(nextSeq);
  }

  /** With nothing outstanding: lets the path go, until `start`. For another process, which goes on with the session, or for this one again. */
  rest(): void {
    if (!this.#requests.isEmpty) throw new Error('session: it cannot rest while requests are outstanding');
    const state = this.#state;
    if (state.kind === 'closed') return;
    this.#resting = true;
    if (state.kind === 'opening') this.ports.abandonPath(this.#epoch);
    // A retry, or an answer, that comes later is stale.
    this.#epoch++;
    if (state.kind === 'disconnected') return;
    if (state.kind === 'open') state.path.close();
    this.#go('rest', { kind: 'disconnected' });
    this.#requests.check();
  }

  /** A free request; to be filled and submitted. */
  acquire(): SessionRequest {
    const request = this.#free;
    if (request === null) return new SessionRequest(this, this.#allocated++, this.nothing);
    this.#free = request.next;
    request.next = null;
    return request;
  }

  submit(request: SessionRequest): void {
    request.arrivedNs = this.ports.nowNs();
    if (this.#requests.isEmpty) this.#progressNs = request.arrivedNs;
    if (this.#state.kind === 'closed') {
      this.#deliver(request, IoStatus.closed);
      return;
    }
    if (this.#requests.add(request)) this.#send();
    this.#requests.check();
  }

  /** The front end is done with the data of an answered READ. */
  release(request: SessionRequest): void {
    request.path!.release(request);
    this.#recycle(request);
  }

  /** No front end uses the session any more: what is unanswered is answered 'closed'; later requests too. */
  detach(): void {
    if (this.#state.kind !== 'closed') this.#close('detach', 'detach');
  }

  // ---------------------------------------------------------------- from the path

  onReply(pathRequest: PathRequest): void {
    const request = pathRequest as SessionRequest;
    const state = this.#state;
    if (state.kind !== 'open' || !this.#requests.has(request) || request.path !== state.path) {
      this.counters.staleEvents++;
      return;
    }
    const floor = this.ports.floor.current();
    if (this.#mustWait()) {
      if (request.op === IoOp.read && request.status === IoStatus.ok) state.path.release(request);
      this.#losePath('lost');
      return;
    }
    if (request.status === IoStatus.fenced || request.term < floor) {
      if (request.term < floor) this.counters.belowFloor++;
      if (request.op === IoOp.read && request.status === IoStatus.ok) state.path.release(request);
      this.#losePath('fenced');
      return;
    }
    if (request.term > floor) this.ports.floor.raise(request.term);
    if (request.status === IoStatus.closed) {
      this.#close('ended', 'other');
      return;
    }
    this.#failures = 0;
    this.#requests.settle(request);
    this.#deliver(request, request.status);
    if (this.#requests.admit() || this.#requests.hasUnsent) this.#send();
    this.#requests.check();
  }

  opened(epoch: number, path: StargatePath, term: number): void {
    if (epoch !== this.#epoch || this.#state.kind !== 'opening') {
      this.counters.staleEvents++;
      path.close();
      return;
    }
    this.#go('opened', { kind: 'open', path });
    this.#setUnsettled(false);
    if (this.#mustWait()) {
      this.#losePath('lost');
      return;
    }
    if (term < this.ports.floor.current()) {
      this.counters.belowFloor++;
      this.#losePath('fenced');
      return;
    }
    this.ports.floor.raise(term);
    this.#judge(term);
    if (this.ports.floor.isHeld()) {
      this.#losePath('lost');
      return;
    }
    this.counters.opened++;
    this.counters.replayed += this.#requests.startReplay();
    this.#send();
    this.#requests.check();
  }

  refused(epoch: number, reason: SessionRefusal): void {
    if (epoch !== this.#epoch || this.#state.kind !== 'opening') {
      this.counters.staleEvents++;
      return;
    }
    if (reason === 'closed') this.#close('ended', 'other');
    else this.#disconnect('refused');
  }

  /**
   * The path of this epoch is gone: 'lost' (connection broke, silence), or as its controller said. 'hung-up': perhaps because its process has died, and perhaps of
   * what it had got.
   */
  pathEnded(epoch: number, reason: SessionEnd | PathLoss): void {
    const { kind } = this.#state;
    if (epoch !== this.#epoch || (kind !== 'opening' && kind !== 'open')) {
      this.counters.staleEvents++;
      return;
    }
    if (reason === 'closed') this.#close('ended', 'other');
    else if (kind === 'opening') this.#disconnect('lost');
    else {
      if (reason === 'hung-up') this.#accused = this.#requests.suspect(this.#term, this.ports.nowNs() - DIES_WITHIN_MS * 1e6);
      this.#losePath(reason === 'fenced' ? 'fenced' : 'lost');
    }
  }

  /** What is known of the controller says that it does not get on: as if the path were lost. */
  leave(): void {
    if (this.#state.kind === 'open') this.#losePath('lost');
  }

  /**
   * Answers with an error what has arrived before then, sent or not (rule 19). What was sent may be anywhere: the path is left, and nothing of the vdisk is answered, to this
   * session or another, before a path is there that was opened since. A controller that opens one has ended those before it and committed an entry behind all that had come by them:
   * what was given up has taken effect by then, or never will.
   */
  giveUpBefore(arrivedNs: number): void {
    let { oldest } = this.#requests;
    if (oldest === null || oldest.arrivedNs >= arrivedNs || this.#state.kind === 'closed') return;
    if (this.#requests.wasSent(oldest)) {
      this.#setUnsettled(true);
      if (this.#state.kind === 'open') this.#losePath('lost');
    }
    for (; oldest !== null && oldest.arrivedNs < arrivedNs; oldest = this.#requests.oldest) {
      this.#requests.takeOldest();
      this.counters.givenUp++;
      oldest.timedOut = true;
      this.#deliver(oldest, IoStatus.closed);
    }
    // What waits behind the window has its numbers as soon as there are some.
    if (this.#requests.admit()) this.#send();
    this.#requests.check();
  }

  /**
   * Another term: the controller of the one before is over, and what is accused was with two that ended so. The same: it was the connection alone, and the controller
   * lives.
   */
  #judge(term: number): void {
    const accused = this.#accused.filter(request => this.#requests.has(request));
    this.#accused = [];
    if (term === this.#term) this.#requests.acquit(term);
    else if (accused.length > 0) {
      this.ports.floor.hold();
      this.ports.accuse(accused, [accused[0]!.suspectedTerm, this.#term]);
      this.#requests.acquit();
    }
    this.#term = term;
  }

  #setUnsettled(isUnsettled: boolean): void {
    if (this.#isUnsettled === isUnsettled) return;
    this.#isUnsettled = isUnsettled;
    this.ports.floor.addUnsettled(isUnsettled ? 1 : -1);
  }

  /** Another session of the vdisk has not come so far. */
  #mustWait(): boolean {
    return this.ports.floor.unsettled() > (this.#isUnsettled ? 1 : 0);
  }

  /** The delay is over. */
  retry(epoch: number): void {
    if (epoch !== this.#epoch || this.#state.kind !== 'disconnected') return;
    if (this.#mustWait()) this.ports.startRetry(epoch, 1);
    else if (this.ports.floor.isHeld()) this.ports.startRetry(epoch, this.#failures++);
    else this.#open();
  }

  // ---------------------------------------------------------------- states

  #go(event: SessionEvent, to: SessionState): void {
    const allowed = TRANSITIONS[this.#state.kind][event];
    if (allowed !== to.kind) throw new Error(`session: "${event}" does not lead from ${this.#state.kind} to ${to.kind}`);
    this.#state = to;
  }

  #open(): void {
    this.#resting = false;
    this.#probes ??= this.ports.openProbes();
    this.#go('open', { kind: 'opening' });
    this.#epoch++;
    this.ports.openPath(this.#epoch, this.#failures);
  }

  #losePath(event: 'lost' | 'fenced'): void {
    const state = this.#state;
    if (state.kind !== 'open') throw new Error('session: no path to lose');
    this.counters.lost++;
    this.#gapNs = 0;
    state.path.close();
    this.#requests.takeBack();
    this.#disconnect(event);
  }

  #disconnect(event: 'lost' | 'fenced' | 'refused'): void {
    this.#go(event, { kind: 'disconnected' });
    this.ports.startRetry(this.#epoch, this.#failures++);
    this.#requests.check();
  }

  #close(event: 'ended' | 'detach', by: 'detach' | 'other'): void {
    const before = this.#state;
    this.#go(event, { kind: 'closed', by });
    this.#setUnsettled(false);
    if (before.kind === 'open') before.path.close();
    if (event === 'detach') {
      if (before.kind === 'opening') this.ports.abandonPath(this.#epoch);
      if (this.#epoch > 0) this.ports.endSession();
    }
    this.#requests.takeBack();
    for (let one = this.#requests.takeOldest(); one !== null; one = this.#requests.takeOldest()) this.#deliver(one, IoStatus.closed);
    this.#requests.check();
  }

  // ---------------------------------------------------------------- requests

  /**
   * Sends what is numbered and not at the path. An answer may come during the call, and with it new requests or the loss
   * of the path: those requests are numbered and sent by this loop, in order.
   */
  #send(): void {
    if (this.#sending) return;
    this.#sending = true;
    for (;;) {
      const state = this.#state;
      if (state.kind !== 'open') break;
      const request = this.#requests.takeUnsent();
      if (request === null) break;
      request.path = state.path;
      request.sentNs = this.ports.nowNs();
      state.path.submit(request);
    }
    this.#sending = false;
  }

  #deliver(request: SessionRequest, status: IoStatus): void {
    request.status = status;
    const now = this.ports.nowNs();
    if (now - this.#progressNs > this.#gapNs) this.#gapNs = now - this.#progressNs;
    this.#progressNs = now;
    if (this.#probes !== null) probe(this.#probes, request, now);
    const held = request.op === IoOp.read && status === IoStatus.ok;
    request.frontEnd!.onAnswer(request);
    if (!held) this.#recycle(request);
  }

  #recycle(request: SessionRequest): void {
    request.reset();
    request.next = this.#free;
    this.#free = request;
  }
}

/** Session: the wait for its turn and for a path, and all of its time here. Path: from the last time that it was sent. */
function probe({ read, write, other, path }: SessionProbes, request: SessionRequest, nowNs: number): void {
  const { op, lengthBytes, arrivedNs, sentNs } = request;
  const atPath = request.path !== null;
  const kind = op === IoOp.read ? read : op === IoOp.write ? write : other;
  // Only what reads and writes carry are bytes that pass.
  const bytes = kind === other ? 0 : lengthBytes;
  kind.record(bytes, (atPath ? sentNs : nowNs) - arrivedNs, nowNs - arrivedNs);
  if (atPath) path.record(bytes, 0, nowNs - sentNs);
}
