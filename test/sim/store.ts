import type { FaultyEngine, VirtualClock } from 'uring-engine/faulty';
import type { StoreCommand, StoreResult } from '../../src/stargate/store/messages.js';
import { SimulatedStore, type SimulatedStoreDisk } from '../../src/stargate/store/simulated.js';
import { MAX_COMMIT_NS } from './limits.js';

/** Of so many drains one is sent a second time. */
const ONE_RESENT_IN = 6;
/** So much later, where the shape of the node does not say. */
const MAX_RESEND_NS = 40_000_000;

export interface StoreBugs {
  /** Rule 20: drains are applied whatever the segment's drainSeq is (M15). */
  readonly noDrainSeqCheck?: boolean;
}

/**
 * The simulated store behind a link that delivers drains at least once: some come again, later, perhaps behind others. The door lets none in twice; nobody hears
 * of their second answers.
 */
export class ResendingStore extends SimulatedStore {
  resent = 0;
  readonly #answered = new Set<number>();
  /** Where each segment will be when what was sent is applied: layer/segment → drainSeq. */
  readonly #sentSeq = new Map<string, number>();

  constructor(
    disk: SimulatedStoreDisk,
    readonly engine: FaultyEngine,
    readonly clock: VirtualClock,
    readonly bugs: StoreBugs = {},
    readonly maxResendNs = MAX_RESEND_NS,
  ) {
    super(disk, engine, { random: clock.random, maxDelayNs: MAX_COMMIT_NS });
  }

  override send(command: StoreCommand): void {
    this.#deliver(command);
    if (command.kind !== 'drain' || this.clock.below(ONE_RESENT_IN) > 0) return;
    const again = structuredClone(command);
    this.clock.after(this.clock.below(this.maxResendNs), () => {
      if (this.engine.isDead || this.engine.disk.isOff) return;
      this.resent++;
      this.engine.turn(() => this.#deliver(again));
    });
  }

  override onResult(listener: (result: StoreResult) => void): void {
    super.onResult(result => {
      if (result.kind !== 'failed') {
        if (this.#answered.has(result.id)) return;
        this.#answered.add(result.id);
      }
      listener(result);
    });
  }

  #deliver(command: StoreCommand): void {
    if (command.kind !== 'drain' || this.bugs.noDrainSeqCheck !== true) return super.send(command);
    const { layer, segment, toSeq } = command.drain;
    const key = `${layer}/${segment}`;
    const fromSeq = this.#sentSeq.get(key) ?? this.store.drainSeq(layer, segment);
    this.#sentSeq.set(key, toSeq);
    super.send({ ...command, drain: { ...command.drain, fromSeq } });
  }
}
