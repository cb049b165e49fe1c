/** One line that is written over, on a terminal; nothing in a pipe. */
export class Progress {
  readonly #isTerminal = process.stderr.isTTY === true;

  show(text: string): void {
    if (!this.#isTerminal) return;
    const columns = process.stderr.columns ?? 80;
    process.stderr.write(`\r\x1b[2K${text.slice(0, columns - 1)}`);
  }

  clear(): void {
    if (this.#isTerminal) process.stderr.write('\r\x1b[2K');
  }
}
