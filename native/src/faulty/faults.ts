export type FaultOperation =
  'open' | 'read' | 'write' | 'sync' | 'allocate' | 'truncate' | 'rename' | 'remove' | 'makeDirectory' | 'syncDirectory';

/**
 * Something that goes wrong, asked for by a test: where (domain), at which operation, at which stage, and how. An operation that is
 * reported as failed may have done nothing (`before`), a part (`partly`: of writes any sectors), or everything (`after`). A `sync` that fails forsakes
 * what it was to cover, at each stage: no later sync writes it.
 */
export interface Fault {
  /** Concerns paths that start with this, or match it; all, where it is missing. */
  readonly path?: string | RegExp;
  readonly operation: FaultOperation | 'any';
  /** `before` where it is missing. */
  readonly stage?: 'before' | 'partly' | 'after';
  /** Positive errno, or `hang`: the operation does not complete until {@link FaultList.release}. Synchronous calls cannot hang: they pass. */
  readonly error: number | 'hang';
  /** Matching operations that pass before it strikes. */
  readonly skip?: number;
  /** How often it strikes; once where it is missing. */
  readonly times?: number;
}

/** The faults of one disk, in the order in which they were asked for; an operation gets the first that concerns it. */
export class FaultList {
  /** How often any struck. */
  struck = 0;
  readonly #armed: { readonly fault: Fault; skip: number; times: number }[] = [];
  readonly #hanging: (() => void)[] = [];

  add(fault: Fault): void {
    this.#armed.push({ fault, skip: fault.skip ?? 0, times: fault.times ?? 1 });
  }

  /** Nothing goes wrong from here on; what hangs goes on. */
  clear(): void {
    this.#armed.length = 0;
    this.release();
  }

  /** Operations that hang go on. */
  release(): void {
    for (const resume of this.#hanging.splice(0)) resume();
  }

  get hanging(): number {
    return this.#hanging.length;
  }

  /** The fault that strikes this operation, or null. */
  strike(operation: FaultOperation, path: string): Fault | null {
    for (let i = 0; i < this.#armed.length; i++) {
      const armed = this.#armed[i]!;
      const { fault } = armed;
      if ((fault.operation !== 'any' && fault.operation !== operation) || !concerns(fault, path)) continue;
      if (armed.skip-- > 0) continue;
      if (--armed.times === 0) this.#armed.splice(i, 1);
      this.struck++;
      return fault;
    }
    return null;
  }

  hang(resume: () => void): void {
    this.#hanging.push(resume);
  }
}

function concerns({ path: pattern = '' }: Fault, path: string): boolean {
  return typeof pattern === 'string' ? path.startsWith(pattern) : pattern.test(path);
}
