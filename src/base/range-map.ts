/**
 * Ranges [start, end) with a number each, sorted, not overlapping; a later assignment replaces what it covers. For few and long
 * ranges: an assignment costs a copy of the list behind it.
 */
export class RangeMap {
  #starts: number[] = [];
  #ends: number[] = [];
  #values: number[] = [];

  get size(): number {
    return this.#starts.length;
  }

  assign(start: number, end: number, value: number): void {
    const first = this.#firstEndingAfter(start);
    let last = first;
    while (last < this.#starts.length && this.#starts[last]! < end) last++;
    const starts: number[] = [];
    const ends: number[] = [];
    const values: number[] = [];
    const push = (s: number, e: number, v: number): void => {
      if (s >= e) return;
      starts.push(s);
      ends.push(e);
      values.push(v);
    };
    if (first < last) push(this.#starts[first]!, Math.min(start, this.#ends[first]!), this.#values[first]!);
    push(start, end, value);
    if (first < last) push(Math.max(end, this.#starts[last - 1]!), this.#ends[last - 1]!, this.#values[last - 1]!);
    this.#starts.splice(first, last - first, ...starts);
    this.#ends.splice(first, last - first, ...ends);
    this.#values.splice(first, last - first, ...values);
  }

  /** The value at the point, or 0. */
  at(point: number): number {
    const i = this.#firstEndingAfter(point);
    return i < this.#starts.length && this.#starts[i]! <= point ? this.#values[i]! : 0;
  }

  forEach(visit: (start: number, end: number, value: number) => void): void {
    for (let i = 0; i < this.#starts.length; i++) visit(this.#starts[i]!, this.#ends[i]!, this.#values[i]!);
  }

  /** Forgets the ranges whose value is at most `value`. */
  removeUpTo(value: number): void {
    const keep = this.#values.map(v => v > value);
    this.#starts = this.#starts.filter((_, i) => keep[i]);
    this.#ends = this.#ends.filter((_, i) => keep[i]);
    this.#values = this.#values.filter((_, i) => keep[i]);
  }

  #firstEndingAfter(point: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle]! <= point) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
