import type { ClientId, Engine, TimerId } from 'uring-engine';
import { IDLE_MARKER_DELAY_NS } from './limits.js';

/**
 * When an idle log gets a marker: an empty batch, whose header says that the last entries are durable. Otherwise only the next batch would say so, and until
 * then a start could not tell damage to them from an end that was torn.
 */
export class IdleMarker {
  /** End of the last batch with entries, and the highest durableLsn that is itself durable: while that is lower, a marker is due. */
  dataEndLsn: number;
  recordedLsn: number;
  #timer: TimerId | null = null;
  #batchesAtTimer = 0;

  /** The timer comes back by `onTimer` from the owner of `client`. */
  constructor(
    readonly engine: Engine,
    readonly client: ClientId,
    readonly tag: number,
    ends: { readonly dataEndLsn: number; readonly recordedLsn: number },
  ) {
    this.dataEndLsn = ends.dataEndLsn;
    this.recordedLsn = ends.recordedLsn;
  }

  /** Nothing is on its way any more; `batches` is how many there have been. */
  arm(batches: number): void {
    if (this.#timer !== null || this.recordedLsn >= this.dataEndLsn) return;
    this.#batchesAtTimer = batches;
    this.#timer = this.engine.timer(IDLE_MARKER_DELAY_NS, this.client, this.tag);
  }

  /** True: the marker is to be written now. Where batches have come since, the delay begins anew. */
  onTimer(isIdle: boolean, batches: number): boolean {
    this.#timer = null;
    if (!isIdle) return false;
    if (this.#batchesAtTimer === batches) return this.recordedLsn < this.dataEndLsn;
    this.arm(batches);
    return false;
  }

  stop(): void {
    if (this.#timer !== null) this.engine.cancelTimer(this.#timer);
    this.#timer = null;
  }
}
