import { SESSION_WINDOW } from '../wire/limits.js';
import { IoOp } from '../wire/path.js';
import { MAX_ACCUSED, MAX_UNANSWERED, MAX_WAITING, SENT_ALONE } from './limits.js';
import type { SessionRequest } from './session-request.js';

const MASK = SESSION_WINDOW - 1;

/**
 * The requests of a session that are not answered, in the order of their arrival: those that have a number (rule 16) are in the window, at the path or to
 * be sent; behind them wait those for which the window has no room.
 */
export class Outstanding {
  /** Unanswered requests by clientSeq; lowest at #lowWater, next number #nextSeq. */
  readonly #window = new Array<SessionRequest | null>(SESSION_WINDOW).fill(null);
  #lowWater = 1;
  #nextSeq = 1;
  #unanswered = 0;
  /** Numbered above, and not sent yet: first of them; equals #nextSeq while the path is up and nothing is replayed. */
  #nextToSend = 1;
  /** Highest number ever sent, to tell replays. */
  #sentUpTo = 0;
  /** At the path. */
  #out = 0;
  /** So many may be, while what is replayed is suspected (rule 19); else Infinity. */
  #mostOut = Infinity;
  #sentAlone = 0;
  /** The last of those that it goes for. */
  #carefulUpTo = 0;
  #waitingFirst: SessionRequest | null = null;
  #waitingLast: SessionRequest | null = null;
  #waitingCount = 0;
  /** Payload of the writes among all of them: memory of whoever has submitted them. */
  #heldBytes = 0;

  get isEmpty(): boolean {
    return this.#unanswered + this.#waitingCount === 0;
  }

  /** Those that have a number. */
  get unanswered(): number {
    return this.#unanswered;
  }

  /** Those behind them, without a number. */
  get waiting(): number {
    return this.#waitingCount;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get nextSeq(): number {
    return this.#nextSeq;
  }

  get oldest(): SessionRequest | null {
    return this.#nextSeq > this.#lowWater ? this.#window[this.#lowWater & MASK]! : this.#waitingFirst;
  }

  /** Whether it has a number and is not answered. */
  has(request: SessionRequest): boolean {
    return this.#window[request.clientSeq & MASK] === request;
  }

  /** On this path, or on one before. */
  wasSent(request: SessionRequest): boolean {
    return this.has(request) && request.clientSeq <= this.#sentUpTo;
  }

  /** Numbers below have been used by another process. */
  goOnFrom(nextSeq: number): void {
    this.#lowWater = this.#nextSeq = this.#nextToSend = nextSeq;
    this.#sentUpTo = nextSeq - 1;
  }

  /** Whether it has its number, and can be sent; otherwise it waits. */
  add(request: SessionRequest): boolean {
    const isNext = this.#waitingCount === 0 && this.#hasRoom();
    this.#heldBytes += heldBytesOf(request);
    if (isNext) this.#number(request);
    else this.#wait(request);
    return isNext;
  }

  /** Numbers those that wait, as far as there is room; whether it has numbered one. */
  admit(): boolean {
    let some = false;
    for (; this.#waitingCount > 0 && this.#hasRoom(); some = true) this.#number(this.#takeWaiting());
    return some;
  }

  /** The next one for the path, from now on counted as sent. */
  takeUnsent(): SessionRequest | null {
    while (this.#nextToSend < this.#nextSeq && this.#out < this.#mostOut) {
      const request = this.#window[this.#nextToSend++ & MASK];
      // Answered before the path was lost.
      if (request == null) continue;
      if (request.clientSeq > this.#sentUpTo) this.#sentUpTo = request.clientSeq;
      request.lowWater = this.#lowWater;
      this.#out++;
      return request;
    }
    return null;
  }

  /** Numbered, and neither answered nor at the path. */
  get hasUnsent(): boolean {
    return this.#nextToSend < this.#nextSeq;
  }

  /**
   * A new path: all that have numbers are to be sent, from the oldest on. How many numbers that repeats. Where one of them is suspected, SENT_ALONE go one by one, each when
   * the one before it is answered; then two, then four at once: so a controller that dies of one had few others.
   */
  startReplay(): number {
    this.#nextToSend = this.#lowWater;
    this.#out = 0;
    this.#mostOut = this.#isAnySuspected() ? 1 : Infinity;
    this.#sentAlone = 0;
    this.#carefulUpTo = this.#sentUpTo;
    return Math.max(0, Math.min(this.#sentUpTo + 1, this.#nextSeq) - this.#lowWater);
  }

  /** The path has let go of every request: what it had added to their answers is void. */
  takeBack(): void {
    this.#out = 0;
    for (const request of this.#numbered()) {
      request.path = null;
      request.extentCount = 0;
      if (request.op === IoOp.read) request.data.clear();
    }
  }

  /** It has its number, and is about to be answered. */
  settle(request: SessionRequest): void {
    this.#window[request.clientSeq & MASK] = null;
    this.#unanswered--;
    this.#heldBytes -= heldBytesOf(request);
    while (this.#lowWater < this.#nextSeq && this.#window[this.#lowWater & MASK] === null) this.#lowWater++;
    if (this.#nextToSend < this.#lowWater) this.#nextToSend = this.#lowWater;
    if (request.path !== null && --this.#out === 0) this.#grow();
  }

  /** About to be answered, numbered or not. */
  takeOldest(): SessionRequest | null {
    if (this.#nextSeq === this.#lowWater) return this.#waitingFirst === null ? null : this.#giveWaiting();
    const request = this.#window[this.#lowWater & MASK]!;
    this.settle(request);
    return request;
  }

  /**
   * The controller of this term has hung up: what it got since then is suspected of that, and still was not answered. Gives those that were suspected before, at a
   * controller of another term, the oldest first.
   */
  suspect(term: number, sinceNs: number): SessionRequest[] {
    const twice: SessionRequest[] = [];
    for (const request of this.#numbered()) {
      if (request.path === null || request.sentNs < sinceNs) continue;
      if (request.suspectedTerm === 0) request.suspectedTerm = term;
      else if (request.suspectedTerm !== term && twice.length < MAX_ACCUSED) twice.push(request);
    }
    return twice;
  }

  /** The controller of this term lives, after all; without a term: nothing is suspected any more. */
  acquit(term?: number): void {
    for (const request of this.#numbered()) if (term === undefined || request.suspectedTerm === term) request.suspectedTerm = 0;
  }

  /** The invariants, after each event of the session. */
  check(): void {
    const width = this.#nextSeq - this.#lowWater;
    const sound =
      width >= 0 &&
      width <= SESSION_WINDOW &&
      this.#unanswered >= 0 &&
      this.#unanswered <= width &&
      this.#nextToSend >= this.#lowWater &&
      this.#nextToSend <= this.#nextSeq &&
      (width === 0 || this.#window[this.#lowWater & MASK] !== null) &&
      (this.#waitingCount === 0) === (this.#waitingFirst === null) &&
      this.#heldBytes >= 0 &&
      (this.#heldBytes === 0 || !this.isEmpty);
    if (!sound)
      throw new Error(`session: invariant broken (low-water ${this.#lowWater}, next ${this.#nextSeq}, unanswered ${this.#unanswered})`);
  }

  #isAnySuspected(): boolean {
    for (const { suspectedTerm } of this.#numbered()) if (suspectedTerm !== 0) return true;
    return false;
  }

  /** All that were sent are answered. */
  #grow(): void {
    if (this.#lowWater > this.#carefulUpTo) this.#mostOut = Infinity;
    else if (++this.#sentAlone >= SENT_ALONE) this.#mostOut *= 2;
  }

  *#numbered(): Generator<SessionRequest> {
    for (let seq = this.#lowWater; seq < this.#nextSeq; seq++) {
      const request = this.#window[seq & MASK];
      if (request != null) yield request;
    }
  }

  #hasRoom(): boolean {
    return this.#unanswered < MAX_UNANSWERED && this.#nextSeq - this.#lowWater < SESSION_WINDOW;
  }

  #number(request: SessionRequest): void {
    request.clientSeq = this.#nextSeq++;
    this.#window[request.clientSeq & MASK] = request;
    this.#unanswered++;
  }

  #wait(request: SessionRequest): void {
    if (this.#waitingCount === MAX_WAITING)
      throw new Error(`session: more than ${MAX_WAITING} requests wait; the front end has to bound what it takes in`);
    if (this.#waitingLast === null) this.#waitingFirst = request;
    else this.#waitingLast.next = request;
    this.#waitingLast = request;
    this.#waitingCount++;
  }

  #giveWaiting(): SessionRequest {
    const request = this.#takeWaiting();
    this.#heldBytes -= heldBytesOf(request);
    return request;
  }

  #takeWaiting(): SessionRequest {
    const request = this.#waitingFirst!;
    this.#waitingFirst = request.next;
    if (this.#waitingFirst === null) this.#waitingLast = null;
    request.next = null;
    this.#waitingCount--;
    return request;
  }
}

const heldBytesOf = ({ op, lengthBytes }: SessionRequest): number => (op === IoOp.write ? lengthBytes : 0);
