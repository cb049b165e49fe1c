import { crc32c } from '@node-rs/crc32';
import type { Arena } from 'uring-engine';
import {
  BLOCK_BYTES,
  EntryKind,
  NoRoom,
  type EntryDraft,
  type LogOwner,
  type OplogPort,
  type OplogUsage,
  type ReadOwner,
  type VdiskLog,
} from '../../../src/stargate/core/ports.js';
import { gathered } from './gathered.js';

const HELD_PLACES = 16;
const HELD_BYTES = 64 << 10;

type LoggedEntry = Omit<EntryDraft, 'payload'> & {
  readonly lsn: number;
  readonly payload: Uint8Array;
  readonly owner: LogOwner;
  readonly tag: number;
};

/** A log in memory that makes entries durable when it is told to. */
export class MemoryLog implements OplogPort {
  readonly entries: LoggedEntry[] = [];
  /** Appends that are taken before the log is full. */
  room = Infinity;
  /** Trims and zeroes that are taken beyond that. */
  freeingRoom = 0;
  /** Why it takes no more then: for want of space, or only for the moment. */
  isFull = true;
  truncatedTo = 0;
  readonly usage: OplogUsage = { capacityBytes: 1, usedBytes: 0, oldestSegmentEndLsn: 0, endLsn: 0, durableLsn: 0 };
  #durable = 0;
  #held = 0;
  #endLsn = BLOCK_BYTES;
  readonly #refused = new Set<LogOwner>();

  constructor(
    readonly arena: Arena,
    readonly window: number,
    readonly later: (run: () => void) => void,
  ) {}

  append(_log: VdiskLog, draft: EntryDraft, owner: LogOwner, tag: number): number {
    const isFreeing = draft.kind === EntryKind.trim || draft.kind === EntryKind.zero;
    if (this.room === 0 && isFreeing && this.freeingRoom > 0) this.freeingRoom--;
    else if (this.room === 0) {
      this.#refused.add(owner);
      return this.isFull ? NoRoom.full : NoRoom.busy;
    } else this.room--;
    const lsn = this.#endLsn + BLOCK_BYTES;
    const payload = gathered(this.arena, draft.payload);
    this.#endLsn = lsn + Math.ceil(payload.length / BLOCK_BYTES) * BLOCK_BYTES;
    this.entries.push({ ...draft, lsn, payload, owner, tag });
    return lsn;
  }

  /** Tells of everything that was appended that it is held, as the end of a turn does. */
  hold(): void {
    while (this.#held < this.entries.length) {
      const { payload, owner, tag } = this.entries[this.#held]!;
      const at = this.#placeOf(this.#held++);
      this.arena.bytes.set(payload, at);
      owner.onHeld?.(tag, at, crc32c(payload));
    }
  }

  /** Small payloads that are held keep their places for a while. */
  #placeOf(index: number): number {
    return this.window + (this.entries[index]!.payload.length > HELD_BYTES ? 0 : (index % HELD_PLACES) * HELD_BYTES);
  }

  /** Makes the next `count` entries durable. */
  commit(count = Infinity): void {
    this.hold();
    for (let i = 0; i < count && this.#durable < this.entries.length; i++) {
      const { payload, owner, tag } = this.entries[this.#durable]!;
      const at = this.#placeOf(this.#durable++);
      this.arena.bytes.set(payload, at);
      owner.onDurable(tag, at, crc32c(payload));
    }
  }

  get inFlight(): number {
    return this.entries.length - this.#durable;
  }

  free(room = Infinity): void {
    this.room = room;
    const refused = [...this.#refused];
    this.#refused.clear();
    for (const owner of refused) owner.onLogSpace();
  }

  readPayload(lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    const entry = this.entries.find(one => lsn >= one.lsn && lsn + lengthBytes <= one.lsn + one.payload.length);
    if (entry === undefined) throw new Error(`position ${lsn} is not in the log`);
    this.later(() => {
      this.arena.bytes.set(entry.payload.subarray(lsn - entry.lsn, lsn - entry.lsn + lengthBytes), arenaOffset);
      owner.onRead(tag, lengthBytes);
    });
  }

  truncate(_log: VdiskLog, oldestNeededLsn: number): void {
    this.truncatedTo = oldestNeededLsn;
  }
}
