/**
 * Work that follows what others change in the metadata: never under way twice at once, and done once more where it was asked for meanwhile. What has failed is done again when the caller
 * asks for it, at once or later.
 */
export class Rerun {
  #isWanted = false;
  #isRunning = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | null = null;

  /** `onError`: what `run` has thrown; the next run begins when its promise, if it gives one, has resolved. It does not throw. */
  constructor(
    private readonly run: () => Promise<void>,
    private readonly onError: (error: Error) => void | Promise<void>,
  ) {}

  ask(): void {
    this.#isWanted = true;
    if (!this.#isRunning && !this.#isClosed) void this.#go();
  }

  /** After that time, unless that is to be already. It does not keep the process alive. */
  askLater(delayMs: number): void {
    if (this.#timer !== null || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.ask();
    }, delayMs);
    this.#timer.unref();
  }

  /** No other run begins. */
  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** It has been asked for since the run that is under way began. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  async #go(): Promise<void> {
    this.#isRunning = true;
    while (this.#isWanted && !this.#isClosed) {
      this.#isWanted = false;
      try {
        await this.run();
      } catch (error) {
        await this.onError(error as Error);
      }
    }
    this.#isRunning = false;
  }
}
