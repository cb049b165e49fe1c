import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { wake, type SocketAddress, type WakeHandle } from 'uring-engine';
import type { HandedOver, MovedConnection } from '../../src/index.js';
import type { Command, ServerSetup, Status } from './setup.js';
import { workerBundle } from './worker-bundle.js';

type Message =
  | { readonly kind: 'ready'; readonly wakeHandle: WakeHandle; readonly address: SocketAddress | null; readonly engine: string }
  | { readonly kind: 'done'; readonly status: Status }
  | { readonly kind: 'moved'; readonly moved: MovedConnection }
  | { readonly kind: 'handed'; readonly handed: HandedOver | null; readonly problem: string }
  | { readonly kind: 'log'; readonly line: string }
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed'; readonly error: Error };

/** For what hangs: on a busy machine a thread takes its time to start. */
const TIMEOUT_MS = 30_000;
const MIB = 1 << 20;

export const ENGINES = ['io_uring', 'libuv'] as const;

/** A server on a thread of its own, on a socket in a directory of its own. */
export class TestServer {
  readonly log: string[] = [];
  onHanded: (handed: HandedOver | null, problem: string) => void = () => undefined;
  onMoved: (moved: MovedConnection) => void = () => undefined;
  closed = false;
  address: SocketAddress | null = null;
  #wakeHandle: WakeHandle | null = null;
  #failure: Error | null = null;
  readonly #waiters: ((message: Message) => void)[] = [];
  readonly #closeWaiters: (() => void)[] = [];

  private constructor(
    readonly directory: string,
    readonly socketPath: string,
    private readonly worker: Worker,
  ) {}

  /** One memory export `disk` of 64 MiB unless told otherwise. */
  static async start(setup: Partial<ServerSetup> & Pick<ServerSetup, 'engine'>): Promise<TestServer> {
    const directory = mkdtempSync(join(tmpdir(), 'nbd-'));
    const socketPath = join(directory, 's');
    const whole: ServerSetup = {
      memory: [{ name: 'disk', sizeBytes: 64 * MIB }],
      files: [],
      address: { family: 'unix', path: socketPath },
      ...setup,
    };
    // Node would warn of each descriptor that is closed and was not opened by it, at a tick that never comes where the thread waits in its ring.
    const worker = new Worker(workerBundle(), { workerData: whole, trackUnmanagedFds: false });
    const server = new TestServer(directory, socketPath, worker);
    await server.#ready();
    if (server.engineKind !== setup.engine) throw new Error(`the engine is ${server.engineKind}, not ${setup.engine}`);
    return server;
  }

  engineKind = '';

  uri(name = 'disk'): string {
    return `nbd+unix:///${name}?socket=${this.socketPath}`;
  }

  async command(command: Command): Promise<Status> {
    const answer = this.#next();
    this.worker.postMessage(command);
    wake(this.#wakeHandle!);
    const message = await answer;
    if (message.kind !== 'done') throw new Error(`unexpected ${message.kind}`);
    return message.status;
  }

  /** What it lets go of, or why it does not. */
  async handOver(deadlineMs = TIMEOUT_MS): Promise<HandedOver | string> {
    const over = new Promise<HandedOver | string>(resolve => {
      this.onHanded = (handed, problem) => resolve(handed ?? problem);
    });
    await this.command({ kind: 'handOver', deadlineMs });
    return within('the hand-over', over);
  }

  status(): Promise<Status> {
    return this.command({ kind: 'status' });
  }

  async until(what: string, holds: (status: Status) => boolean): Promise<Status> {
    const deadline = Date.now() + TIMEOUT_MS;
    for (;;) {
      const status = await this.status();
      if (holds(status)) return status;
      if (Date.now() > deadline) throw new Error(`timed out: ${what}: ${JSON.stringify(status)}\n${this.log.join('\n')}`);
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }

  /** Waits until `close` has called back. */
  async whenClosed(): Promise<void> {
    if (!this.closed) await within('close', new Promise<void>(resolve => this.#closeWaiters.push(resolve)));
  }

  async stop(): Promise<void> {
    if (this.#failure === null) {
      const ended = new Promise(resolve => this.worker.once('exit', resolve));
      await this.command({ kind: 'stop' });
      await within('end of the server thread', ended);
    }
    rmSync(this.directory, { recursive: true, force: true });
    if (this.#failure !== null) throw this.#failure;
  }

  async #ready(): Promise<void> {
    this.worker.on('message', (message: Message) => {
      if (message.kind === 'log') this.log.push(message.line);
      else if (message.kind === 'handed') this.onHanded(message.handed, message.problem);
      else if (message.kind === 'moved') this.onMoved(message.moved);
      else if (message.kind === 'closed') {
        this.closed = true;
        for (const waiter of this.#closeWaiters.splice(0)) waiter();
      } else this.#waiters.shift()?.(message);
    });
    this.worker.on('error', error => {
      this.#failure = error;
      for (const waiter of this.#waiters.splice(0)) waiter({ kind: 'failed', error });
    });
    const message = await this.#next();
    if (message.kind !== 'ready') throw new Error(`unexpected ${message.kind}`);
    this.#wakeHandle = message.wakeHandle;
    this.address = message.address;
    this.engineKind = message.engine;
  }

  async #next(): Promise<Message> {
    if (this.#failure !== null) throw this.#failure;
    const message = await within('an answer of the server thread', new Promise<Message>(resolve => this.#waiters.push(resolve)));
    if (message.kind === 'failed') throw message.error;
    return message;
  }
}

async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: ${what}`)), TIMEOUT_MS);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
