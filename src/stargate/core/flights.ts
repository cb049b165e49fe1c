import assert from 'node:assert/strict';
import type { PathRequest } from '../../wire/path.js';
import { MAX_IN_FLIGHT_ENTRIES } from './limits.js';
import type { EntryKind } from './ports.js';
import type { ControllerPath } from './path.js';
import type { SessionState } from './sessions.js';

/** What a control entry does when it is committed. */
export interface ControlCommit {
  onControlCommitted(seq: number): void;
}

/** The log's tags are small numbers; entries are held, and become durable, in order, so the tag is not needed to find them. */
const TAG_MODULUS = 1 << 20;

export function tagOf(seq: number): number {
  return seq % TAG_MODULUS;
}

/** Whom an entry concerns. */
interface Concerned {
  control: ControlCommit | null;
  session: SessionState | null;
  request: PathRequest | null;
  path: ControllerPath | null;
}

/** One object for all: what `take` returns is used at once. */
const taken: Concerned = { control: null, session: null, request: null, path: null };

/**
 * Entries of one vdisk between append and commit: a ring by seq, in columns. Entries become durable in order, so it is filled at one
 * end and emptied at the other. It starts small: most vdisks are idle.
 */
export class Flights {
  firstSeq = 1;
  nextSeq = 1;
  kind: EntryKind[] = [];
  block = new Float64Array(0);
  blocks = new Float64Array(0);
  lsn = new Float64Array(0);
  startedNs = new Float64Array(0);
  /** The request that is answered when this entry commits: its last part. */
  request: (PathRequest | null)[] = [];
  path: (ControllerPath | null)[] = [];
  session: (SessionState | null)[] = [];
  clientSeq = new Float64Array(0);
  /** Of an entry that is held, and not committed yet: where its payload is in memory, and the checksum of that. */
  payloadOffset = new Float64Array(0);
  payloadCrc = new Uint32Array(0);
  control: (ControlCommit | null)[] = [];
  #mask = -1;

  constructor() {
    this.#resize(64);
  }

  /** The next entry has this seq. Only while nothing is in flight. */
  startAt(seq: number): void {
    assert.equal(this.count, 0);
    this.firstSeq = this.nextSeq = seq;
  }

  get count(): number {
    return this.nextSeq - this.firstSeq;
  }

  get isFull(): boolean {
    return this.count === MAX_IN_FLIGHT_ENTRIES;
  }

  /** A place for entry `nextSeq`. */
  push(): number {
    if (this.count > this.#mask) this.#resize((this.#mask + 1) * 2);
    const at = this.nextSeq++ & this.#mask;
    this.request[at] = null;
    this.path[at] = null;
    this.session[at] = null;
    this.control[at] = null;
    return at;
  }

  /** The entry was not taken by the log after all. */
  unpush(): void {
    this.nextSeq--;
  }

  at(seq: number): number {
    return seq & this.#mask;
  }

  /** Whom the entry concerns, which is committed: nothing of them is kept here. */
  take(at: number): Readonly<Concerned> {
    taken.control = this.control[at]!;
    taken.session = this.session[at]!;
    taken.request = this.request[at]!;
    taken.path = this.path[at]!;
    this.control[at] = this.session[at] = this.request[at] = this.path[at] = null;
    return taken;
  }

  /** The path is closed: nobody is answered there. */
  forget(path: ControllerPath): void {
    for (let seq = this.firstSeq; seq < this.nextSeq; seq++) {
      const at = seq & this.#mask;
      if (this.path[at] === path) this.request[at] = this.path[at] = null;
    }
  }

  /** Whether an entry in flight touches the blocks. */
  overlaps(block: number, blocks: number): boolean {
    for (let seq = this.firstSeq; seq < this.nextSeq; seq++) {
      const at = seq & this.#mask;
      if (this.blocks[at]! > 0 && this.block[at]! < block + blocks && block < this.block[at]! + this.blocks[at]!) return true;
    }
    return false;
  }

  #resize(capacity: number): void {
    const old = { ...this };
    const oldMask = this.#mask;
    this.kind = new Array<EntryKind>(capacity);
    this.block = new Float64Array(capacity);
    this.blocks = new Float64Array(capacity);
    this.lsn = new Float64Array(capacity);
    this.startedNs = new Float64Array(capacity);
    this.clientSeq = new Float64Array(capacity);
    this.payloadOffset = new Float64Array(capacity);
    this.payloadCrc = new Uint32Array(capacity);
    this.request = new Array<PathRequest | null>(capacity).fill(null);
    this.path = new Array<ControllerPath | null>(capacity).fill(null);
    this.session = new Array<SessionState | null>(capacity).fill(null);
    this.control = new Array<ControlCommit | null>(capacity).fill(null);
    this.#mask = capacity - 1;
    for (let seq = this.firstSeq; seq < this.nextSeq; seq++) {
      const from = seq & oldMask;
      const to = seq & this.#mask;
      this.kind[to] = old.kind[from]!;
      this.block[to] = old.block[from]!;
      this.blocks[to] = old.blocks[from]!;
      this.lsn[to] = old.lsn[from]!;
      this.startedNs[to] = old.startedNs[from]!;
      this.clientSeq[to] = old.clientSeq[from]!;
      this.payloadOffset[to] = old.payloadOffset[from]!;
      this.payloadCrc[to] = old.payloadCrc[from]!;
      this.request[to] = old.request[from]!;
      this.path[to] = old.path[from]!;
      this.session[to] = old.session[from]!;
      this.control[to] = old.control[from]!;
    }
  }
}
