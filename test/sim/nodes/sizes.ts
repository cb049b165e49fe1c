import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { UNITS } from '../history.js';
import type { Load, Vdisk } from '../load.js';
import type { Wish } from '../workload.js';

const WHOLE_BLOCK = (1 << UNITS) - 1;

/** Of each the blocks may have taken it in, or not: of so many the checker follows all ways. */
const MAX_UNHEARD = 6;

/** A size that the vdisk may have had, and until when. */
interface Span {
  readonly sizeBytes: number;
  untilNs: number;
  /** It was wanted, and never came about. */
  isDead: boolean;
  /** The metadata has had it. */
  isRecorded: boolean;
}

/** A change of the size whose outcome is not known, or of which no client of the vdisk can have heard yet. */
interface Change {
  readonly sizeBytes: number;
  /** In the history of the blocks: what it cuts off becomes zeroes, or stays, as with any other operation. */
  readonly op: number;
  readonly span: Span;
}

/**
 * What is known of the size of one vdisk. It never has the same size twice, so whoever wants to go on from a size that was left can do so no more: of all that were wanted from one
 * size one comes about, at most.
 *
 * Resizes are not a guest's: a host that is cut off with a former controller may for a moment read what has been cut off. So a change stands in the way of reads, and of requests beyond
 * the end, from the moment on in which a client of the vdisk has had an answer of the term in which it was committed, or of a later one: from there on the floor (rule 17) is above the former one.
 */
export class Sizes {
  /** As far as whoever resizes has been told. */
  sizeBytes: number;
  /** In which it was told last: answers of older ones may be old. */
  term = 0;
  readonly #spans: Span[];
  readonly #open: Change[] = [];
  /** They have come about in that term. */
  readonly #unheard: { readonly change: Change; readonly term: number; readonly left: readonly Span[] }[] = [];

  constructor(
    readonly load: Load,
    readonly vdisk: Vdisk,
    firstBytes: number,
  ) {
    this.sizeBytes = firstBytes;
    this.#spans = [{ sizeBytes: firstBytes, untilNs: Infinity, isDead: false, isRecorded: true }];
  }

  /** May not be a size that it has had, or that was wanted once. */
  isNew(sizeBytes: number): boolean {
    return this.#spans.every(span => span.sizeBytes !== sizeBytes);
  }

  isWanted(sizeBytes: number): boolean {
    return this.#open.some(change => change.sizeBytes === sizeBytes);
  }

  /** As many have come about without anybody's hearing of it as are followed at once. */
  get isUnheard(): boolean {
    return this.#unheard.length >= MAX_UNHEARD;
  }

  /** Whoever resizes wants it, and says so from now on. */
  begun(sizeBytes: number): void {
    const { load, vdisk } = this;
    const span = { sizeBytes, untilNs: Infinity, isDead: false, isRecorded: false };
    const op = load.nextOperation++;
    const cut = vdisk.workload.blocks.filter(block => block * BLOCK_BYTES >= sizeBytes && block * BLOCK_BYTES < this.sizeBytes);
    vdisk.history.write(
      op,
      cut.map(block => ({ block, mask: WHOLE_BLOCK })),
      true,
    );
    this.#spans.push(span);
    this.#open.push({ sizeBytes, op, span });
  }

  /** It is known to have the size that was wanted, in a term of its controller: the others that were wanted will never come about. */
  reached(sizeBytes: number, term: number): void {
    const { clock } = this.load;
    const left = this.#spans.filter(span => span.sizeBytes === this.sizeBytes);
    for (const change of this.#open.splice(0)) {
      if (change.sizeBytes === sizeBytes) this.#unheard.push({ change, term, left });
      else {
        change.span.untilNs = clock.nowNs;
        change.span.isDead = true;
        this.#look(change.span);
        this.vdisk.history.settled(change.op);
      }
    }
    this.sizeBytes = sizeBytes;
    this.term = term;
  }

  /** The metadata has it now. */
  recorded(sizeBytes: number): void {
    const span = this.#spans.find(one => one.sizeBytes === sizeBytes)!;
    span.isRecorded = true;
    this.#look(span);
  }

  #look({ isDead, isRecorded, sizeBytes }: Span): void {
    if (isDead && isRecorded)
      this.load.complaints.push(
        `vdisk ${this.vdisk.index}: divergent: the metadata has had it with ${sizeBytes / BLOCK_BYTES} blocks, a size that it never had`,
      );
  }

  /** A client of the vdisk has had an answer of that term: whoever was in control before answers none of the vdisk's clients any more. */
  heard(term: number): void {
    while (this.#unheard.length > 0 && this.#unheard[0]!.term <= term) {
      const { change, left } = this.#unheard.shift()!;
      for (const span of left) span.untilNs = this.load.clock.nowNs;
      this.vdisk.history.wrote(change.op);
    }
  }

  /** Whether the vdisk may have had that size since then. */
  mayHaveBeen(sizeBytes: number, sinceNs: number): boolean {
    return this.#spans.some(span => span.sizeBytes === sizeBytes && span.untilNs >= sinceNs);
  }

  /** An answer that the vdisk's size does not explain; null: it does. */
  misfit({ op, offsetBytes, lengthBytes }: Wish, status: IoStatus, sinceNs: number): string | null {
    const endBytes = offsetBytes + lengthBytes;
    const since = this.#spans.filter(({ untilNs }) => untilNs >= sinceNs);
    if (status === IoStatus.ok && !since.some(({ sizeBytes }) => sizeBytes >= endBytes))
      return `was answered, and ends at block ${Math.ceil(endBytes / BLOCK_BYTES)}, beyond the end of the vdisk`;
    const isBeyond = status === (op === IoOp.read || op === IoOp.trim ? IoStatus.invalid : IoStatus.noSpace);
    if (isBeyond && !since.some(({ sizeBytes }) => sizeBytes < endBytes))
      return `was refused, and ends at block ${Math.ceil(endBytes / BLOCK_BYTES)}, which the vdisk has`;
    return null;
  }
}
