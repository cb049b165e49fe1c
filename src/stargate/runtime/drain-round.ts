import { encodeRecord } from '../core/head.js';
import { EntryKind, type OplogPort } from '../core/ports.js';
import type { Controller } from '../core/controller.js';
import { SegmentDrain, type DrainMutations, type DrainOutcome } from './segment-drain.js';

/**
 * One round of a vdisk: everything in the log up to where it ends now goes to the extents, segment by segment; then a HEAD says so, and when
 * that is committed the log before is needed no more (rule 21).
 */
export class DrainRound {
  readonly toSeq: number;
  readonly #toHash: number;
  #segments: number[] = [];
  #drain: SegmentDrain | null = null;
  #stopped = false;
  #state: 'committing' | 'draining' | 'head' | 'ended' = 'committing';

  constructor(
    readonly controller: Controller,
    readonly log: OplogPort,
    readonly mutations: DrainMutations,
    readonly onEnd: (outcome: DrainOutcome) => void,
  ) {
    this.toSeq = controller.lastSeq;
    this.#toHash = controller.vdiskLog.lastHash;
    // The first entry behind the round: from there on the log will still be needed.
    controller.markLsn = -1;
  }

  /** Goes on if it waits for a commit or for room in the log. */
  poke(): void {
    if (this.#state === 'committing' && this.controller.committedSeq >= this.toSeq) {
      this.#state = 'draining';
      this.#segments = this.controller.index.segments();
      this.#nextSegment();
    } else if (this.#state === 'head') this.#writeHead();
  }

  /** The log is about to close. */
  stop(): void {
    this.#stopped = true;
    if (this.#state === 'draining') this.#drain?.stop();
    else this.#state = 'ended';
  }

  #nextSegment(): void {
    if (this.#stopped) return this.#end('stopped');
    const segment = this.#segments.shift();
    if (segment === undefined) {
      this.#state = 'head';
      return this.#writeHead();
    }
    this.#drain = new SegmentDrain(this.controller, segment, this.toSeq, this.mutations, outcome => {
      if (outcome === 'done') this.#nextSegment();
      else this.#end(outcome);
    });
    this.#drain.start();
  }

  #writeHead(): void {
    const { controller, toSeq } = this;
    const head = controller.head(toSeq, this.#toHash);
    if (head === null) return;
    const commit = {
      onControlCommitted: () => {
        controller.state.drainedSeq = toSeq;
        controller.state.drainedHash = this.#toHash;
        this.log.truncate(controller.vdiskLog, controller.markLsn);
        this.#end('done');
      },
    };
    this.#state = 'ended';
    if (!controller.appendControl(EntryKind.head, encodeRecord(head), 0, commit)) this.#state = 'head';
  }

  #end(outcome: DrainOutcome): void {
    this.#state = 'ended';
    this.onEnd(outcome);
  }
}
