/**
 * Which shard serves the next NBD connection of a vdisk: the first one that of its controller, where that is in this process; further ones the shard
 * with the fewest of that vdisk, by turns. Pure.
 */
export class ConnectionPlacement {
  readonly #counts: number[];
  #last: number;

  constructor(shards: number, firstShard: number) {
    this.#counts = new Array<number>(shards).fill(0);
    this.#last = firstShard;
  }

  /** `controllerShard`: -1 where the controller is in another process. */
  choose(controllerShard: number): number {
    const counts = this.#counts;
    let chosen = controllerShard;
    if (controllerShard < 0 || counts[controllerShard]! > 0) {
      chosen = (this.#last + 1) % counts.length;
      for (let i = 1; i <= counts.length; i++) {
        const shard = (this.#last + i) % counts.length;
        if (counts[shard]! < counts[chosen]!) chosen = shard;
      }
    }
    counts[chosen]!++;
    this.#last = chosen;
    return chosen;
  }

  /** One that nobody has placed there. */
  came(shard: number): void {
    this.#counts[shard]!++;
  }

  gone(shard: number): void {
    if (this.#counts[shard]! > 0) this.#counts[shard]!--;
  }

  get connections(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }
}
