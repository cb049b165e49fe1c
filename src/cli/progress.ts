import { formatSize } from '../base/size.js';

/** One line that is written over, on a terminal; nothing in a pipe. */
export class Progress {
  readonly isTerminal = process.stderr.isTTY === true;

  show(text: string): void {
    if (!this.isTerminal) return;
    process.stderr.write(`\r\x1b[2K${text.slice(0, this.columns - 1)}`);
  }

  clear(): void {
    if (this.isTerminal) process.stderr.write('\r\x1b[2K');
  }

  get columns(): number {
    return process.stderr.columns ?? 80;
  }
}

/** Not more often than an eye can follow. */
const SHOW_INTERVAL_MS = 100;
/** The rate is that of the last so many milliseconds. */
const RATE_WINDOW_MS = 10_000;

/** How far a copy of bytes is: share, bar, bytes, rate, time left. */
export class ByteProgress {
  readonly #line = new Progress();
  readonly #marks: { readonly atMs: number; readonly bytes: number }[] = [];
  #shownAtMs = -Infinity;

  /** `totalBytes` null: nobody knows. */
  constructor(
    private readonly totalBytes: number | null,
    private readonly clock: () => number = () => performance.now(),
  ) {
    this.#marks.push({ atMs: clock(), bytes: 0 });
  }

  at(bytes: number): void {
    if (!this.#line.isTerminal) return;
    const nowMs = this.clock();
    if (nowMs - this.#shownAtMs < SHOW_INTERVAL_MS) return;
    this.#shownAtMs = nowMs;
    this.#marks.push({ atMs: nowMs, bytes });
    while (this.#marks.length > 2 && nowMs - this.#marks[1]!.atMs > RATE_WINDOW_MS) this.#marks.shift();
    const first = this.#marks[0]!;
    const rate = nowMs > first.atMs ? ((bytes - first.bytes) / (nowMs - first.atMs)) * 1_000 : 0;
    this.#line.show(barLine({ bytes, totalBytes: this.totalBytes, bytesPerSecond: rate }, this.#line.columns));
  }

  clear(): void {
    this.#line.clear();
  }
}

/** The bar is gone when the work has ended, however that was. */
export async function withProgress<T>(totalBytes: number | null, work: (progress: ByteProgress) => Promise<T>): Promise<T> {
  const progress = new ByteProgress(totalBytes);
  try {
    return await work(progress);
  } finally {
    progress.clear();
  }
}

export interface BarState {
  readonly bytes: number;
  readonly totalBytes: number | null;
  readonly bytesPerSecond: number;
}

/** ` 42% [======>       ]  860.0 MiB of 2 GiB   412.1 MiB/s   0:03 left`, as wide as there are columns, less one. */
export function barLine({ bytes, totalBytes, bytesPerSecond }: BarState, columns: number): string {
  const rate = `${formatSize(Math.round(bytesPerSecond))}/s`;
  if (totalBytes === null) return `${formatSize(bytes)}   ${rate}`;
  const share = totalBytes === 0 ? 1 : Math.min(1, bytes / totalBytes);
  const left = bytesPerSecond > 0 ? `${timeText((totalBytes - bytes) / bytesPerSecond)} left` : '-:-- left';
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  const texts = `${`${formatSize(bytes)} of ${formatSize(totalBytes)}`.padStart(24)} ${rate.padStart(13)} ${left.padStart(12)}`;
  const width = columns - 1 - percent.length - texts.length - 3;
  if (width < 5) return `${percent} ${texts.trim()}`;
  const filled = Math.round(share * width);
  const bar = filled === width ? '='.repeat(width) : `${'='.repeat(filled)}>`.padEnd(width);
  return `${percent} [${bar}]${texts}`;
}

/** A time that nobody waits for is none. */
const MOST_SECONDS = 100 * 3_600;

function timeText(seconds: number): string {
  if (seconds >= MOST_SECONDS) return '-:--';
  const whole = Math.max(0, Math.ceil(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
