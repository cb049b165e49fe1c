/** Something that is due at a time; what is due at the same one comes in the order of the ids. */
export interface Due {
  readonly id: number;
  readonly dueNs: number;
  cancelled: boolean;
}

/** A binary heap of what is due. What is cancelled stays in it until it is due, or until {@link retain}. */
export class DueHeap<T extends Due> {
  #heap: T[] = [];

  /** What is cancelled, and still here, is counted. */
  get length(): number {
    return this.#heap.length;
  }

  add(one: T): void {
    const heap = this.#heap;
    let index = heap.push(one) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (before(heap[parent]!, one)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = one;
  }

  /** The next that is not cancelled, or undefined. */
  first(): T | undefined {
    while (this.#heap[0]?.cancelled === true) this.#pop();
    return this.#heap[0];
  }

  /** Takes {@link first}. */
  take(): T | undefined {
    return this.first() === undefined ? undefined : this.#pop();
  }

  /** What is in the heap from now on: those of it that are not cancelled, or none. */
  retain(live: Iterable<T>): void {
    // A sorted row is a heap.
    this.#heap = [...live].sort((a, b) => (before(a, b) ? -1 : 1));
  }

  #pop(): T {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (child >= heap.length || before(last, heap[child]!)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return top;
  }
}

function before(a: Due, b: Due): boolean {
  return a.dueNs < b.dueNs || (a.dueNs === b.dueNs && a.id < b.id);
}
