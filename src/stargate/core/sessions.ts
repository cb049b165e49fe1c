import assert from 'node:assert/strict';
import type { SessionRequest } from '../../wire/serving.js';
import { DEDUPE_WINDOW, MAX_ENDED_DATAPATHS, MAX_PARTIAL_REQUESTS, MAX_SESSIONS } from './limits.js';

/** Who a session is within its vdisk. */
export type SessionIdentity = Omit<SessionRequest, 'vdiskId'>;

/** What is known of a request of a session (rule 15). */
export const RequestState = { unknown: 0, inFlight: 1, committed: 2, belowLowWater: 3, beyondWindow: 4 } as const;

/** One session of the table: who, and which of its changes are committed. */
export class SessionState {
  lowWater = 1;
  /** The entry that ends it is in the log: no change of it gets a place behind that (rule 14). */
  isEnding = false;
  /** State of clientSeq n at n mod the window, for n from `lowWater` on. Made at the first change. */
  #window: Uint8Array | null = null;
  /** Requests of which some parts are in the log and the last one is not → how many. One at a time, and those whose path went then. */
  readonly #partial = new Map<number, number>();

  constructor(
    /** Seq of its SESSION_OPEN: unique in the vdisk's history. */
    readonly id: number,
    readonly generation: number,
    readonly datapathUuid: string,
    readonly shard: number,
  ) {}

  stateOf(clientSeq: number): number {
    if (clientSeq < this.lowWater) return RequestState.belowLowWater;
    if (clientSeq >= this.lowWater + DEDUPE_WINDOW) return RequestState.beyondWindow;
    return this.#window === null ? RequestState.unknown : this.#window[clientSeq % DEDUPE_WINDOW]!;
  }

  set(clientSeq: number, state: number): void {
    if (clientSeq < this.lowWater || clientSeq >= this.lowWater + DEDUPE_WINDOW) return;
    this.#window ??= new Uint8Array(DEDUPE_WINDOW);
    this.#window[clientSeq % DEDUPE_WINDOW] = state;
  }

  /** All below are settled: they are forgotten, and never applied again. */
  raiseLowWater(lowWater: number): void {
    if (lowWater <= this.lowWater) return;
    if (this.#window !== null) {
      if (lowWater - this.lowWater >= DEDUPE_WINDOW) this.#window.fill(0);
      else for (let n = this.lowWater; n < lowWater; n++) this.#window[n % DEDUPE_WINDOW] = RequestState.unknown;
    }
    if (this.#partial.size > 0) for (const clientSeq of this.#partial.keys()) if (clientSeq < lowWater) this.#partial.delete(clientSeq);
    this.lowWater = lowWater;
  }

  /** The first `count` of the request's `parts` are in the log. They are not applied again when it comes again: others may have written there since. */
  partsInLog(clientSeq: number, count: number, parts: number): void {
    if (count === parts) this.#partial.delete(clientSeq);
    else if (clientSeq >= this.lowWater) this.#partial.set(clientSeq, count);
    if (this.#partial.size > MAX_PARTIAL_REQUESTS) this.#partial.delete(Math.min(...this.#partial.keys()));
  }

  /** How many parts of the request are in the log already. */
  partsBefore(clientSeq: number): number {
    return this.#partial.size === 0 ? 0 : (this.#partial.get(clientSeq) ?? 0);
  }

  /** Replay has found the change in the log. The low-water mark is not in the log: what the session's window cannot hold beside this one is settled. */
  foundInLog(clientSeq: number, part: number, parts: number): void {
    this.raiseLowWater(clientSeq - DEDUPE_WINDOW + 1);
    this.partsInLog(clientSeq, part + 1, parts);
    // A request cut in parts is committed with the last one: they follow each other in the log.
    if (part === parts - 1) this.set(clientSeq, RequestState.committed);
  }

  /** As of the end of the log: `inLog` are its changes that are in the log and not committed yet. */
  record(inLog: readonly number[]): SessionRecord {
    const { id, generation, datapathUuid, shard, lowWater } = this;
    const committed = new Uint8Array(DEDUPE_WINDOW / 8);
    const add = (clientSeq: number): void => {
      const n = clientSeq - lowWater;
      if (n >= 0) committed[n >> 3]! |= 1 << (n & 7);
    };
    if (this.#window !== null) {
      for (let n = lowWater; n < lowWater + DEDUPE_WINDOW; n++) if (this.#window[n % DEDUPE_WINDOW] === RequestState.committed) add(n);
    }
    inLog.forEach(add);
    const used = committed.findLastIndex(byte => byte !== 0) + 1;
    return { id, generation, datapathUuid, shard, lowWater, committed: committed.subarray(0, used), partial: [...this.#partial] };
  }

  static restore({ id, generation, datapathUuid, shard, lowWater, committed, partial }: SessionRecord): SessionState {
    const session = new SessionState(id, generation, datapathUuid, shard);
    session.raiseLowWater(lowWater);
    committed.forEach((byte, i) => {
      for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) session.set(lowWater + i * 8 + bit, RequestState.committed);
    });
    for (const [clientSeq, count] of partial) session.partsInLog(clientSeq, count, Infinity);
    return session;
  }

  isOf(request: SessionIdentity): boolean {
    return request.generation === this.generation && request.datapathUuid === this.datapathUuid && request.shard === this.shard;
  }
}

/** As it stands in a HEAD. */
export interface SessionTableRecord {
  readonly generation: number;
  readonly ended: readonly string[];
  readonly sessions: readonly SessionRecord[];
}
export interface SessionRecord {
  readonly id: number;
  readonly generation: number;
  readonly datapathUuid: string;
  readonly shard: number;
  readonly lowWater: number;
  /** Bit n of byte m: change number lowWater + 8 × m + n is committed. */
  readonly committed: Uint8Array;
  /** Changes of which only some parts are in the log, with how many. */
  readonly partial: readonly (readonly [clientSeq: number, parts: number])[];
}

/**
 * The sessions of one vdisk (rules 14, 15): changed only by committed entries, part of HEAD, rebuilt by replay. An exclusive open ends every
 * session of an older generation and of every other datapath.
 */
export class SessionTable {
  readonly #sessions = new Map<number, SessionState>();
  /** Highest generation that has opened a session. */
  #generation = 0;
  /** Datapaths of that generation whose sessions were ended by another one's open. */
  #ended: string[] = [];

  get size(): number {
    return this.#sessions.size;
  }

  get(id: number): SessionState | undefined {
    return this.#sessions.get(id);
  }

  find(request: SessionIdentity): SessionState | undefined {
    for (const session of this.#sessions.values()) if (session.isOf(request)) return session;
    return undefined;
  }

  /** Why the session cannot be opened, or null. */
  refusal(request: SessionIdentity): 'closed' | 'busy' | null {
    if (request.generation < this.#generation) return 'closed';
    if (request.generation === this.#generation && this.#ended.includes(request.datapathUuid)) return 'closed';
    // Those that it ends make room.
    return this.#sessions.size - this.endedBy(request).length >= MAX_SESSIONS ? 'busy' : null;
  }

  /** Sessions that an open of this one ends: it is exclusive to the shards of one datapath in one generation. */
  endedBy({ generation, datapathUuid }: SessionIdentity): SessionState[] {
    return [...this.#sessions.values()].filter(one => one.generation !== generation || one.datapathUuid !== datapathUuid);
  }

  /** A SESSION_OPEN is committed. Returns the sessions that it ends. */
  open(id: number, request: SessionIdentity): SessionState[] {
    if (request.generation > this.#generation) {
      this.#generation = request.generation;
      this.#ended = [];
    }
    const over = this.endedBy(request);
    for (const session of over) {
      this.#sessions.delete(session.id);
      if (session.generation === this.#generation && !this.#ended.includes(session.datapathUuid)) this.#ended.push(session.datapathUuid);
    }
    if (this.#ended.length > MAX_ENDED_DATAPATHS) this.#ended.splice(0, this.#ended.length - MAX_ENDED_DATAPATHS);
    this.#sessions.set(id, new SessionState(id, request.generation, request.datapathUuid, request.shard));
    return over;
  }

  close(id: number): void {
    this.#sessions.delete(id);
  }

  /** As of the end of the log: `inLog` are the changes that are in it and not committed yet; they will be when the record is. */
  record(inLog: ReadonlyMap<number, readonly number[]> = new Map()): SessionTableRecord {
    return {
      generation: this.#generation,
      ended: [...this.#ended],
      sessions: [...this.#sessions.values()].map(session => session.record(inLog.get(session.id) ?? [])),
    };
  }

  restore(record: SessionTableRecord): void {
    this.#generation = record.generation;
    this.#ended = [...record.ended];
    this.#sessions.clear();
    for (const one of record.sessions) {
      assert(!this.#sessions.has(one.id));
      this.#sessions.set(one.id, SessionState.restore(one));
    }
  }
}
