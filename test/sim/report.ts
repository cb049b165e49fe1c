import type { Finding } from './checker.js';
import { ClusterRun, type ClusterRunOptions } from './nodes/run.js';
import { Run, type RunOptions } from './run.js';

/** What a run of one node and one of a cluster have in common. */
export interface AnyResult {
  readonly seed: number;
  readonly hash: string;
  readonly violations: readonly Finding[];
  readonly exception: Error | null;
  readonly counters: Readonly<object>;
  readonly lines: readonly string[];
}

export const isBad = ({ violations, exception }: AnyResult): boolean => violations.length > 0 || exception !== null;

/** Lines of a timeline, at most. */
const MAX_LINES = 250;

/** Runs the seed again, with its trace as text: what it found, and what led to it. */
export function tell(options: RunOptions, full: boolean): string {
  return told(new Run({ ...options, isRead: true }).run(), full);
}

export function tellCluster(options: ClusterRunOptions, full: boolean): string {
  return told(new ClusterRun({ ...options, isRead: true }).run(), full);
}

function told(result: AnyResult, full: boolean): string {
  const { seed, violations, exception, hash } = result;
  const found = violations.slice(0, 5).map(({ message }) => `  ${message}`);
  if (exception !== null) found.push(`  ${exception.stack ?? exception.message}`);
  return [`seed ${seed}, trace ${hash}:`, ...found, '', ...timeline(result, full)].join('\n');
}

/** Of a violation the operations on its block and the life of node and clients; otherwise, or in `full`, the end of everything. */
function timeline({ lines, violations }: AnyResult, full: boolean): string[] {
  const ops = violations[0]?.ops;
  if (full) return [...lines];
  if (ops === undefined) return lines.slice(-MAX_LINES);
  const wanted = lines.filter(line => {
    const op = / #(\d+) /.exec(line);
    return op === null ? !/ disk( \d+)?: /.test(line) : ops.has(Number(op[1]));
  });
  return wanted.length <= MAX_LINES ? wanted : [`… ${wanted.length - MAX_LINES} lines`, ...wanted.slice(-MAX_LINES)];
}

/** Counters of many seeds, per 1,000 of them. */
export class Totals<Counters extends object> {
  seeds = 0;
  readonly #sums = new Map<keyof Counters & string, number>();

  add({ counters }: { readonly counters: Counters }): void {
    this.seeds++;
    for (const [name, value] of Object.entries(counters) as [keyof Counters & string, number][]) {
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + value);
    }
  }

  /** Those of other seeds. */
  addSums(seeds: number, sums: readonly (readonly [string, number])[]): void {
    this.seeds += seeds;
    for (const [name, value] of sums) this.#sums.set(name as keyof Counters & string, this.of(name as keyof Counters & string) + value);
  }

  get sums(): [string, number][] {
    return [...this.#sums];
  }

  of(name: keyof Counters & string): number {
    return this.#sums.get(name) ?? 0;
  }

  text(): string {
    const per = (value: number): string => Math.round((value * 1_000) / Math.max(1, this.seeds)).toLocaleString('en-US');
    return [...this.#sums].map(([name, value]) => `  ${words(name).padEnd(16)}${per(value).padStart(14)}`).join('\n');
  }
}

const words = (name: string): string => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);
