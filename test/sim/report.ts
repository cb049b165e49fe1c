import { Run, type Counters, type Result, type RunOptions } from './run.js';

/** Lines of a timeline, at most. */
const MAX_LINES = 250;

/** Runs the seed again, with its trace as text: what it found, and what led to it. */
export function tell(options: RunOptions, full: boolean): string {
  const result = new Run({ ...options, isRead: true }).run();
  const { seed, violations, exception, hash } = result;
  const found = violations.slice(0, 5).map(({ message }) => `  ${message}`);
  if (exception !== null) found.push(`  ${exception.stack ?? exception.message}`);
  return [`seed ${seed}, trace ${hash}:`, ...found, '', ...timeline(result, full)].join('\n');
}

/** Of a violation the operations on its block and the life of node and clients; otherwise, or in `full`, the end of everything. */
function timeline({ lines, violations }: Result, full: boolean): string[] {
  const ops = violations[0]?.ops;
  if (full) return [...lines];
  if (ops === undefined) return lines.slice(-MAX_LINES);
  const wanted = lines.filter(line => {
    const op = / #(\d+) /.exec(line);
    return op === null ? !line.includes(' disk: ') : ops.has(Number(op[1]));
  });
  return wanted.length <= MAX_LINES ? wanted : [`… ${wanted.length - MAX_LINES} lines`, ...wanted.slice(-MAX_LINES)];
}

/** Counters of many seeds, per 1,000 of them. */
export class Totals {
  seeds = 0;
  readonly #sums = new Map<keyof Counters, number>();

  add({ counters }: Result): void {
    this.seeds++;
    for (const [name, value] of Object.entries(counters) as [keyof Counters, number][]) {
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + value);
    }
  }

  of(name: keyof Counters): number {
    return this.#sums.get(name) ?? 0;
  }

  text(): string {
    const per = (value: number): string => Math.round((value * 1_000) / Math.max(1, this.seeds)).toLocaleString('en-US');
    return [...this.#sums].map(([name, value]) => `  ${words(name).padEnd(16)}${per(value).padStart(14)}`).join('\n');
  }
}

const words = (name: string): string => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);
