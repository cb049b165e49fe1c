import type { LogRecord, RecoveredLog } from '../../../src/stargate/core/replication/effects.js';
import { recoverLog } from '../../../src/stargate/core/replication/recovery.js';

interface Written {
  readonly ticket: number;
  readonly record: LogRecord;
  readonly committedHeard: number;
}

/** A node's log: records in order, the last ones not durable yet. */
export class SimDisk {
  #durable: Written[] = [];
  #underWay: Written[] = [];
  #isTorn = false;
  #mayHaveForgotten = false;

  write(written: Written): void {
    this.#underWay.push(written);
  }

  get underWay(): number {
    return this.#underWay.length;
  }

  /** The first `count` that are under way are durable. Returns the ticket of the last, or 0. */
  sync(count = this.#underWay.length): number {
    const done = this.#underWay.splice(0, count);
    this.#durable.push(...done);
    return done.at(-1)?.ticket ?? 0;
  }

  /** Of what is not durable the first `kept` records happen to be on the disk; the next one perhaps in part. */
  crash(kept: number, isTorn: boolean): void {
    this.#mayHaveForgotten = this.#underWay.length > 0;
    this.#durable.push(...this.#underWay.slice(0, kept));
    this.#isTorn = isTorn && kept < this.#underWay.length;
    this.#underWay = [];
  }

  /** The last durable entry is damaged, and taken for torn. */
  tearDurable(): void {
    this.#durable.pop();
    this.#isTorn = true;
  }

  /** The last durable entry is gone, and nothing tells. */
  loseDurable(): void {
    this.#durable.pop();
  }

  wipe(): void {
    this.#durable = [];
    this.#underWay = [];
    this.#isTorn = false;
  }

  /** What a start finds. Tickets start anew. */
  recover(): RecoveredLog {
    const recovered = recoverLog(this.#durable, this.#isTorn);
    this.#isTorn = false;
    return { ...recovered, mayHaveForgotten: this.#mayHaveForgotten };
  }
}
