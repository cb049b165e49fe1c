import type { Drainable, DrainPace } from '../core/drainable.js';
import type { RoundEnd } from '../core/round-ends.js';
import { SegmentDrain, type DrainMutations, type DrainOutcome } from './segment-drain.js';

/**
 * One round of a vdisk: everything in the log up to where it ends now goes to the extents, segment by segment; then a HEAD says so, and when
 * that is committed the log before is needed no more (rule 21).
 */
export class DrainRound {
  readonly #to: RoundEnd;
  #segments: number[] = [];
  #drain: SegmentDrain | null = null;
  #stopped = false;
  /** Some segment found no space. The others are drained all the same: what they trim may be the space that is missing. */
  #lacksSpace = false;
  #state: 'committing' | 'draining' | 'head' | 'ended' = 'committing';

  constructor(
    readonly vdisk: Drainable,
    /** All that there is, each segment in one part, holes first: some of it may free the space that the rest needs. */
    readonly isWhole: boolean,
    readonly mutations: DrainMutations,
    readonly onEnd: (outcome: DrainOutcome) => void,
  ) {
    this.#to = vdisk.beginRound(isWhole);
  }

  /** Goes on if it waits for a commit, for what is to be durable, or for room in the log. */
  poke(): void {
    if (this.#state === 'committing' && this.vdisk.drainableSeq >= this.#to.seq) {
      this.#state = 'draining';
      this.#segments = this.vdisk.index.segments();
      this.#nextSegment();
    } else if (this.#state === 'draining') this.#drain?.poke();
    else if (this.#state === 'head') this.#writeHead();
  }

  /** The log is about to close. */
  stop(): void {
    this.#stopped = true;
    if (this.#state === 'draining') this.#drain?.stop();
    else this.#state = 'ended';
  }

  #nextSegment(): void {
    if (this.#stopped) return this.#end('stopped');
    while (this.#segments.length > 0 && this.vdisk.index.segment(this.#segments[0]!) === undefined) this.#segments.shift();
    const segment = this.#segments[0];
    if (segment === undefined) {
      if (this.#lacksSpace) return this.#end('no-space');
      this.#state = 'head';
      return this.#writeHead();
    }
    const drain = new SegmentDrain(this.vdisk, segment, this.#to.seq, this.#pace, this.mutations, outcome => {
      this.#lacksSpace ||= outcome === 'no-space';
      if (outcome === 'no-space' || (outcome === 'done' && drain.toSeq === this.#to.seq)) this.#segments.shift();
      if (outcome === 'done' || outcome === 'no-space') this.#nextSegment();
      else this.#end(outcome);
    });
    this.#drain = drain;
    drain.start();
  }

  get #pace(): DrainPace {
    const { drains, log } = this.vdisk.ports;
    const { usedBytes, capacityBytes } = log.usage;
    const pace = usedBytes > capacityBytes * drains.hurryFill ? drains.hurried : drains.calm;
    return this.isWhole ? { ...pace, blocks: Infinity } : pace;
  }

  #writeHead(): void {
    // It may be told before this call returns.
    this.#state = 'ended';
    if (!this.vdisk.endRound(this.#to, () => this.#end('done'))) this.#state = 'head';
  }

  #end(outcome: DrainOutcome): void {
    this.#state = 'ended';
    this.onEnd(outcome);
  }
}
