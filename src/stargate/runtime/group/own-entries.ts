import type { LogBody } from '../../core/applied.js';
import type { EntryDraft, LogOwner } from '../../core/ports.js';
import { EntryKind } from '../../core/ports.js';
import type { LogTail } from '../../core/replication/entry.js';
import { blockCrcs, bodyOf } from './entries.js';
import type { GroupParts } from './parts.js';

/** An entry of the controller here that is not committed: its payload is kept for the members, its tag for the controller. */
export interface OwnEntry {
  /** -1: it has no payload. */
  readonly offset: number;
  readonly owner: LogOwner;
  readonly tag: number;
}

/** The entries that the controller here has appended and that are not committed yet, by seq. */
export class OwnEntries {
  readonly #all = new Map<number, OwnEntry>();

  constructor(readonly parts: GroupParts) {}

  /** Memory for the payload, or -1: there is none. */
  reserve(bytes: number): number {
    return this.parts.retained.take(bytes);
  }

  add(draft: EntryDraft, offset: number, owner: LogOwner, tag: number): void {
    const { bytes } = this.parts.ports.arena;
    const { payload, seq } = draft;
    let at = offset;
    for (let i = 0; i < payload.count; i++) {
      bytes.copyWithin(at, payload.offsets[i]!, payload.offsets[i]! + payload.lengths[i]!);
      at += payload.lengths[i]!;
    }
    this.#all.set(seq, { offset, owner, tag });
  }

  /** Where the payload is; -1: it has none, or the entry is none of these. */
  placeOf(seq: number): number {
    return this.#all.get(seq)?.offset ?? -1;
  }

  at(seq: number): OwnEntry | undefined {
    return this.#all.get(seq);
  }

  take(seq: number): OwnEntry | undefined {
    const own = this.#all.get(seq);
    if (own !== undefined) this.#all.delete(seq);
    return own;
  }

  release({ offset }: OwnEntry): void {
    if (offset >= 0) this.parts.giveRetained(offset);
  }

  /** The controller is gone. What it had appended may still be committed, by whoever follows: the checksums are taken before the memory goes. */
  end(log: LogTail): void {
    for (const [seq, own] of this.#all) {
      if (seq <= log.lastSeq && seq > log.base.seq) this.takeCrcs(own, bodyOf(log.at(seq)));
      this.release(own);
    }
    this.#all.clear();
  }

  /** Of its blocks, while they are in memory. */
  takeCrcs({ offset }: OwnEntry, body: LogBody): void {
    if (offset >= 0 && (body.kind === EntryKind.write || body.kind === EntryKind.fullImage))
      body.crcs = blockCrcs(this.parts.ports.arena, offset, body.payloadBytes);
  }
}
