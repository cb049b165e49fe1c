const ALTERNATE_ON = '\x1b[?1049h\x1b[?25l';
const ALTERNATE_OFF = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const INTERRUPT = '\x03';
const SMALLEST = { columns: 20, rows: 4 };

/** A full screen of its own; what was there before comes back when it ends, however that happens. */
export class Terminal {
  #open = false;
  readonly #close = (): void => this.close();
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.close();
    process.kill(process.pid, signal);
  };

  constructor(
    private readonly out: NodeJS.WriteStream,
    private readonly keys: NodeJS.ReadStream,
  ) {}

  open(onKey: (key: string) => void, onResize: () => void): void {
    this.#open = true;
    process.once('exit', this.#close);
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.once(signal, this.#onSignal);
    this.out.write(ALTERNATE_ON);
    this.out.on('resize', onResize);
    if (!this.keys.isTTY) return;
    this.keys.setRawMode(true);
    this.keys.setEncoding('utf8');
    this.keys.on('data', (text: string) => {
      for (const key of text) onKey(key === INTERRUPT ? 'q' : key);
    });
    this.keys.resume();
  }

  get size(): { readonly columns: number; readonly rows: number } {
    return { columns: Math.max(SMALLEST.columns, this.out.columns || 80), rows: Math.max(SMALLEST.rows, this.out.rows || 24) };
  }

  /** Writes over what is there: nothing flickers. The last line has no line feed: the screen does not scroll. */
  show(lines: readonly string[]): void {
    if (this.#open) this.out.write(HOME + lines.map(line => line + CLEAR_LINE).join('\r\n') + CLEAR_BELOW);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.off(signal, this.#onSignal);
    process.off('exit', this.#close);
    if (this.keys.isTTY) this.keys.setRawMode(false);
    this.keys.pause();
    this.out.write(ALTERNATE_OFF);
  }
}
