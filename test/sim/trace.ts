/**
 * What happened in a world, in order: always as a hash, so that two runs of a seed can be held against each other, and as text when somebody
 * is to read it. An event is a kind and up to five numbers; the kind says how they read.
 */
export class Trace {
  readonly lines: string[] = [];
  events = 0;
  #low = 0x811c9dc5;
  #high = 0x9e3779b9;
  readonly #names = new Map<string, number>();

  constructor(
    readonly clock: { readonly nowNs: number },
    readonly isRead: boolean,
  ) {}

  add(kind: TraceKind, a = 0, b = 0, c = 0, d = 0, e = 0): void {
    this.events++;
    this.#mix(this.clock.nowNs);
    this.#mix(kind.id);
    this.#mix(a);
    this.#mix(b);
    this.#mix(c);
    this.#mix(d);
    this.#mix(e);
    if (this.isRead) this.lines.push(`${this.#time()} ${kind.text(a, b, c, d, e)}`);
  }

  /** A number for a name, the same in each run of a seed. */
  nameOf(name: string): number {
    let number = this.#names.get(name);
    if (number === undefined) {
      number = this.#names.size;
      this.#names.set(name, number);
      for (let i = 0; i < name.length; i++) this.#mix(name.charCodeAt(i));
    }
    return number;
  }

  get hash(): string {
    return [this.#high, this.#low].map(half => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #mix(value: number): void {
    this.#low = Math.imul(this.#low ^ (value | 0), 0x01000193);
    this.#high = Math.imul(this.#high ^ Math.floor(value / 0x1_0000_0000) ^ (this.#low >>> 7), 0x85ebca6b);
  }

  #time(): string {
    return `${((this.clock.nowNs - 1e9) / 1e6).toFixed(3).padStart(12)} ms`;
  }
}

export interface TraceKind {
  readonly id: number;
  readonly text: (a: number, b: number, c: number, d: number, e: number) => string;
}

let nextId = 1;

export function traceKind(text: TraceKind['text']): TraceKind {
  return { id: nextId++, text };
}
