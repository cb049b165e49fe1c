import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { findProgram } from '../../../cli/programs.js';
import { endProcess } from './pids.js';

export interface ChildOptions {
  readonly name: string;
  readonly argv: readonly string[];
  /** What it prints is added here. */
  readonly logFile: string;
  /** Start it again when it ends by itself. */
  readonly restart: boolean;
  /** It has ended, and another process does its work: that one was started by hand, or by this one. */
  readonly isReplaced?: (child: Child) => boolean;
  readonly onStart: (child: Child) => void;
  /** By itself: not by `stop`. */
  readonly onEnd: (child: Child, how: string) => void;
}

const RESTART_FIRST_MS = 200;
const RESTART_LAST_MS = 5_000;
/** After so long, an end is a new trouble and not the last one again. */
const STEADY_MS = 10_000;
/** Of a log, for the message of a failed start. */
const TAIL_CHARS = 1_500;

/** A process that `gatepath up` runs. It ends with us, however we end: then the system tells it. */
export class Child {
  #process: ChildProcess;
  #startedAtMs = 0;
  #restartMs = RESTART_FIRST_MS;
  #timer: NodeJS.Timeout | null = null;
  #stopping = false;
  #logStart = 0;
  /** Another process does its work. */
  wasReplaced = false;
  /** How it ended, while it does not run. */
  ended: string | null = null;

  constructor(readonly options: ChildOptions) {
    this.#process = this.#spawn();
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** The end of what it has printed since it was started. */
  get lastWords(): string {
    return readFileSync(this.options.logFile).subarray(this.#logStart).toString('utf8').slice(-TAIL_CHARS).trim();
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.ended !== null) return;
    const ended = new Promise<void>(resolve => this.#process.once('exit', () => resolve()));
    await endProcess(this.pid, ended, timeoutMs);
  }

  #spawn(): ChildProcess {
    const { argv, logFile, onStart } = this.options;
    const log = openSync(logFile, 'a');
    this.#logStart = readFileSync(logFile).length;
    const [command, ...args] = [...endsWithUs(), ...argv];
    // A session of its own: Ctrl-C is for us, and we stop everything in order.
    const child = spawn(command!, args, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    this.#process = child;
    this.#startedAtMs = performance.now();
    this.ended = null;
    child.once('error', error => this.#onEnd(error.message));
    child.once('exit', (code, signal) => this.#onEnd(signal ?? `exit status ${code}`));
    onStart(this);
    return child;
  }

  #onEnd(how: string): void {
    if (this.ended !== null) return;
    this.ended = how;
    if (this.#stopping) return;
    this.wasReplaced = this.options.isReplaced?.(this) ?? false;
    if (this.wasReplaced) return;
    this.options.onEnd(this, how);
    if (!this.options.restart) return;
    if (performance.now() - this.#startedAtMs > STEADY_MS) this.#restartMs = RESTART_FIRST_MS;
    this.#timer = setTimeout(() => this.#spawn(), this.#restartMs);
    this.#restartMs = Math.min(2 * this.#restartMs, RESTART_LAST_MS);
  }
}

/** util-linux's way to be told of the end of one's parent; the pid stays that of the command. */
function endsWithUs(): readonly string[] {
  const setpriv = findProgram('setpriv');
  return setpriv === undefined ? [] : [setpriv, '--pdeathsig', 'TERM', '--'];
}
