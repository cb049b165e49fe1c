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
  /** Changes that were answered and not flushed may have been lost with the memory of a process, and its user has not heard of it: by a FLUSH that fails. */
  isLossUntold = false;
  /** Its user has heard since: where others hold the log, it is to say so. */
  hasHeardOfLoss = false;
  /** The FLUSH that has failed so, and its path: when the low-water mark passes it, its user has heard. 0: none. */
  #toldBy = 0;
  #toldOn: object | null = null;
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
    if (this.#toldBy > 0 && lowWater > this.#toldBy) {
      this.lossHeard();
      this.hasHeardOfLoss = true;
    }
  }

  /**
   * Whether the FLUSH has to tell of a loss. Once on a path: its answer comes, or the path ends; then nobody knows what has come of the answer, and the next FLUSH tells
   * again, be it the same one.
   */
  tellLoss(clientSeq: number, path: object): boolean {
    if (!this.isLossUntold || (this.#toldOn === path && this.#toldBy !== clientSeq)) return false;
    this.#toldBy = clientSeq;
    this.#toldOn = path;
    return true;
  }

  lossHeard(): void {
    this.isLossUntold = false;
    this.#toldBy = 0;
    this.#toldOn = null;
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
    return {
      ...{ id, generation, datapathUuid, shard, lowWater, committed: committed.subarray(0, used), partial: [...this.#partial] },
      ...(this.isLossUntold ? { lossUntold: true } : {}),
    };
  }

  static restore({ id, generation, datapathUuid, shard, lowWater, committed, partial, lossUntold }: SessionRecord): SessionState {
    const session = new SessionState(id, generation, datapathUuid, shard);
    session.isLossUntold = lossUntold === true;
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
  /** Of the attachment that holds the vdisk: it writes. */
  readonly generation: number;
  /** Datapaths of it whose sessions were ended by another one's open. */
  readonly ended: readonly string[];
  /** The attachment beside it that is shared: it reads, until it is activated or gone (rule 18). */
  readonly shared: AttachmentRecord | null;
  readonly sessions: readonly SessionRecord[];
  /** The last loss of memory that the log tells of: `lossTerm` of a group's record. */
  readonly lossTerm?: number | undefined;
}
export interface AttachmentRecord {
  readonly generation: number;
  readonly ended: readonly string[];
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
  /** Its next FLUSH fails: see SessionState. */
  readonly lossUntold?: boolean | undefined;
}

/** What an ATTACH_MODE entry says. shared: the generation is let in beside the holder; exclusive: it was shared, and holds the vdisk from here on. */
export interface AttachMode {
  readonly generation: number;
  readonly mode: 'shared' | 'exclusive';
}

interface Attachment {
  readonly generation: number;
  readonly ended: string[];
}

/**
 * The sessions of one vdisk (rules 14, 15, 18): changed only by committed entries, part of HEAD, rebuilt by replay. Sessions of two attachments may stand side by
 * side: those of the holder, and those of a newer one that is shared. Each is exclusive to the shards of one datapath; any other open ends all that it does not name.
 *
 * ```
 *   open, newer generation:      holder := it; ends the holder's sessions, and a shared one that is older
 *   ATTACH_MODE shared, newer:   shared := it; ends what was shared before
 *   ATTACH_MODE exclusive:       holder := the shared one; ends the former holder's sessions
 *   close of its last session:   shared := none
 * ```
 */
export class SessionTable {
  readonly #sessions = new Map<number, SessionState>();
  #holder: Attachment = { generation: 0, ended: [] };
  #shared: Attachment | null = null;
  #lossTerm = 0;

  get size(): number {
    return this.#sessions.size;
  }

  /** Two attachments read: what one of them writes through one controller, the other must not miss at a former one. */
  get isShared(): boolean {
    return this.#shared !== null;
  }

  /** How many have not heard that memory was lost. */
  get untold(): number {
    let count = 0;
    for (const session of this.#sessions.values()) count += Number(session.isLossUntold);
    return count;
  }

  /** {@link SessionTableRecord.lossTerm}; 0: none. */
  get lossTerm(): number {
    return this.#lossTerm;
  }

  /** A process has ended that may have held changes in memory alone; `lossTerm`: where the record of a group says so. */
  memoryLost(lossTerm = 0): void {
    this.#lossTerm = lossTerm;
    for (const session of this.#sessions.values()) session.isLossUntold = true;
  }

  /** One of the two writes. */
  mayWrite(session: SessionState): boolean {
    return session.generation !== this.#shared?.generation;
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
    const { generation, datapathUuid, shared } = request;
    if (generation < this.#holder.generation) return 'closed';
    if (this.#attachmentOf(generation)?.ended.includes(datapathUuid) === true) return 'closed';
    // Another one was let in after it.
    if (shared === true && generation > this.#holder.generation && generation < (this.#shared?.generation ?? 0)) return 'closed';
    // Those that it ends make room.
    return this.#sessions.size - this.endedBy(request).length >= MAX_SESSIONS ? 'busy' : null;
  }

  /** What has to be in the log before the session can be opened, or used on, as it is asked for. */
  modeBefore({ generation, shared = false }: SessionIdentity): AttachMode | null {
    const isShared = generation === this.#shared?.generation;
    const isNewer = generation > Math.max(this.#holder.generation, this.#shared?.generation ?? 0);
    if (shared) return isNewer ? { generation, mode: 'shared' } : null;
    return isShared ? { generation, mode: 'exclusive' } : null;
  }

  /** Sessions that an open of this one ends. */
  endedBy({ generation, datapathUuid }: SessionIdentity): SessionState[] {
    const isNew = this.#attachmentOf(generation) === undefined;
    return this.#all(one => {
      if (one.generation === generation) return one.datapathUuid !== datapathUuid;
      return isNew && !(one.generation === this.#shared?.generation && one.generation > generation);
    });
  }

  /** A SESSION_OPEN is committed. Returns the sessions that it ends. */
  open(id: number, request: SessionIdentity): SessionState[] {
    const { generation, datapathUuid, shard } = request;
    const over = this.endedBy(request);
    // The guest may be the same behind another datapath, or move to this one; a newer attachment alone is of one that has begun anew.
    const isOfSameGuest = this.#attachmentOf(generation) !== undefined;
    const isLossUntold = isOfSameGuest && this.untold > 0;
    if (!isOfSameGuest) {
      this.#holder = { generation, ended: [] };
      if (this.#shared !== null && this.#shared.generation < generation) this.#shared = null;
    }
    const { ended } = this.#attachmentOf(generation)!;
    for (const session of over) {
      this.#sessions.delete(session.id);
      if (session.generation === generation && !ended.includes(session.datapathUuid)) ended.push(session.datapathUuid);
    }
    if (ended.length > MAX_ENDED_DATAPATHS) ended.splice(0, ended.length - MAX_ENDED_DATAPATHS);
    const session = new SessionState(id, generation, datapathUuid, shard);
    session.isLossUntold = isLossUntold;
    this.#sessions.set(id, session);
    return over;
  }

  /** Sessions that the change of mode ends. */
  endedByMode({ generation, mode }: AttachMode): SessionState[] {
    const before = this.#shared?.generation;
    if (mode === 'exclusive') return generation === before ? this.#all(one => one.generation !== generation) : [];
    return this.#all(one => one.generation === before && before < generation);
  }

  /** An ATTACH_MODE is committed. Returns the sessions that it ends. */
  setMode(change: AttachMode): SessionState[] {
    const { generation, mode } = change;
    const over = this.endedByMode(change);
    for (const { id } of over) this.#sessions.delete(id);
    if (mode === 'shared') {
      if (generation > Math.max(this.#holder.generation, this.#shared?.generation ?? 0)) this.#shared = { generation, ended: [] };
    } else if (generation === this.#shared?.generation) {
      this.#holder = this.#shared;
      this.#shared = null;
    }
    return over;
  }

  close(id: number): void {
    const generation = this.#sessions.get(id)?.generation;
    this.#sessions.delete(id);
    if (generation !== undefined && generation === this.#shared?.generation && this.#all(one => one.generation === generation).length === 0)
      this.#shared = null;
  }

  /** As of the end of the log: `inLog` are the changes that are in it and not committed yet; they will be when the record is. */
  record(inLog: ReadonlyMap<number, readonly number[]> = new Map()): SessionTableRecord {
    const copy = ({ generation, ended }: Attachment): AttachmentRecord => ({ generation, ended: [...ended] });
    return {
      ...copy(this.#holder),
      shared: this.#shared === null ? null : copy(this.#shared),
      sessions: [...this.#sessions.values()].map(session => session.record(inLog.get(session.id) ?? [])),
      ...(this.#lossTerm > 0 ? { lossTerm: this.#lossTerm } : {}),
    };
  }

  restore({ generation, ended, shared, sessions, lossTerm = 0 }: SessionTableRecord): void {
    this.#lossTerm = lossTerm;
    this.#holder = { generation, ended: [...ended] };
    this.#shared = shared === null ? null : { generation: shared.generation, ended: [...shared.ended] };
    this.#sessions.clear();
    for (const one of sessions) {
      assert(!this.#sessions.has(one.id));
      this.#sessions.set(one.id, SessionState.restore(one));
    }
  }

  #attachmentOf(generation: number): Attachment | undefined {
    if (generation === this.#holder.generation) return this.#holder;
    return generation === this.#shared?.generation ? this.#shared : undefined;
  }

  #all(which: (session: SessionState) => boolean): SessionState[] {
    return [...this.#sessions.values()].filter(which);
  }
}
