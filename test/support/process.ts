import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { constants } from 'node:os';
import { waitFor, within } from './wait.js';

/** Output kept of one process: what is older falls out, so that a chatty process cannot fill the memory. */
const OUTPUT_LIMIT_CHARS = 4 * 1024 * 1024;

export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Extra descriptors after stdin, stdout, stderr. */
  readonly extraStdio?: readonly number[];
  /** Keeps stdin open and silent, for programs that take its end for a hang-up. Default: /dev/null. */
  readonly holdStdin?: boolean;
}

const running = new Set<TestProcess>();

// A test that throws, or a Ctrl-C, must not leave servers and guests behind.
process.on('exit', () => {
  for (const child of running) child.killNow();
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}

/** A process started by a test: its output is collected, its end is awaited, and it never outlives the test run. */
export class TestProcess {
  stdout = '';
  stderr = '';
  readonly exited: Promise<ExitStatus>;
  exitStatus: ExitStatus | undefined;
  readonly #child: ChildProcess;
  readonly #name: string;

  private constructor(argv: readonly string[], options: StartOptions) {
    const [command, ...args] = argv;
    if (command === undefined) throw new Error('an empty command');
    this.#name = shorten(argv.join(' '));
    const stdio: StdioOptions = [options.holdStdin === true ? 'pipe' : 'ignore', 'pipe', 'pipe', ...(options.extraStdio ?? [])];
    this.#child = spawn(command, args, {
      stdio,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-OUTPUT_LIMIT_CHARS);
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_LIMIT_CHARS);
    });
    running.add(this);
    this.exited = new Promise(resolve => {
      this.#child.once('error', error => {
        this.stderr += `\n${error.message}`;
        this.#ended({ code: 127, signal: null }, resolve);
      });
      this.#child.once('close', (code, signal) => this.#ended({ code, signal }, resolve));
    });
  }

  static start(argv: readonly string[], options: StartOptions = {}): TestProcess {
    return new TestProcess(argv, options);
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`not started: ${this.#name}`);
    return this.#child.pid;
  }

  get output(): string {
    return `${this.stdout}\n${this.stderr}`;
  }

  get isRunning(): boolean {
    return this.exitStatus === undefined;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child.kill(signal);
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }

  killNow(): void {
    this.#child.kill('SIGKILL');
  }

  /** SIGTERM and a clean end; SIGKILL and an error after `timeoutMs`. */
  async stop(timeoutMs = 20_000, signal: NodeJS.Signals = 'SIGTERM'): Promise<ExitStatus> {
    this.signal(signal);
    try {
      return await within(`end of ${this.#name} after ${signal}`, timeoutMs, this.exited);
    } catch (error) {
      await this.kill();
      throw new Error(`${(error as Error).message}\n${this.output}`, { cause: error });
    }
  }

  /** Waits until `probe` gives a value; fails at once, with the output, when the process ends before. */
  async waitUntil<T>(what: string, timeoutMs: number, probe: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    try {
      return await waitFor(what, timeoutMs, () => {
        if (!this.isRunning) throw new Error(`${this.#name} ended (${JSON.stringify(this.exitStatus)}) before: ${what}`);
        return probe();
      });
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.output}`, { cause: error });
    }
  }

  #ended(status: ExitStatus, resolve: (status: ExitStatus) => void): void {
    if (this.exitStatus !== undefined) return;
    this.exitStatus = status;
    running.delete(this);
    resolve(status);
  }
}

function shorten(text: string): string {
  return text.length <= 160 ? text : `${text.slice(0, 157)}...`;
}

export interface RunResult extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end, whatever its exit status. */
export async function run(argv: readonly string[], options: StartOptions & { readonly timeoutMs?: number } = {}): Promise<RunResult> {
  const child = TestProcess.start(argv, options);
  const timeoutMs = options.timeoutMs ?? 60_000;
  try {
    const status = await within(argv.join(' '), timeoutMs, child.exited);
    return { ...status, stdout: child.stdout, stderr: child.stderr };
  } catch (error) {
    await child.kill();
    throw new Error(`${(error as Error).message}\n${child.output}`, { cause: error });
  }
}

/** Runs a command that must succeed; gives its stdout. */
export async function check(argv: readonly string[], options: StartOptions & { readonly timeoutMs?: number } = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code !== 0) {
    throw new Error(`${argv.join(' ')}: exit status ${result.code ?? result.signal}\n${result.stdout}\n${result.stderr}`);
  }
  return result.stdout;
}
