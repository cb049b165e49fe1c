import { EventEmitter } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { wake, type ArenaHandle, type WakeHandle } from 'uring-engine';
import { GatepathError } from '../base/errors.js';
import type { EventDraft, EventSink } from '../base/events.js';
import type { Logger, LogLevel } from '../base/log.js';
import { createProbes, PROBES_BYTES, type Probes } from '../base/probe.js';
import { MAX_SHARDS, STOP_DEADLINE_MS } from './limits.js';
import { createMailboxBuffers } from './mailbox.js';
import { CODE_LOADED, type ShardPorts } from './context.js';

/** What a shard's task is given; `settings` is for the parts that the worker file mounts. */
export interface ShardTask {
  readonly index: number;
  readonly count: number;
  readonly arena: ArenaHandle;
  readonly ports: ShardPorts;
  readonly mailboxes: (SharedArrayBuffer | null)[][];
  /** An int32 that becomes 1 when the message with all wake handles has been sent. */
  readonly startSignal: SharedArrayBuffer;
  readonly settings: unknown;
  /** Memory of the shard's probes, {@link PROBES_BYTES} of it: the main thread reads them. */
  readonly probes: SharedArrayBuffer;
}

/** Why the parts of a shard could not start. */
export interface MountFailure {
  readonly code: string;
  readonly message: string;
  readonly stack: string | undefined;
}

/** Threads that have loaded the code of shards, or are about to: a start does that beside what else it has to do. */
export class ShardThreads {
  readonly pool: Piscina;
  /** All have loaded their code. */
  readonly loaded: Promise<void>;

  /** `workerFile`: the compiled worker module; its default export runs one {@link ShardTask} until the shard is stopped. */
  constructor(
    readonly count: number,
    workerFile: string,
  ) {
    if (!Number.isInteger(count) || count < 1 || count > MAX_SHARDS)
      throw new RangeError(`shards: ${count} is not a number from 1 to ${MAX_SHARDS}`);
    this.pool = new Piscina({
      filename: workerFile,
      minThreads: count,
      maxThreads: count,
      concurrentTasksPerWorker: 1,
      // A waiting worker would be frozen in Atomics.wait; a shard waits in its ring or in Node's loop.
      atomics: 'disabled',
      // Descriptors come from other threads and go to them: Node's books on them would be wrong.
      trackUnmanagedFds: false,
    });
    let loading = count;
    this.loaded = new Promise(resolve => this.pool.on('message', message => message === CODE_LOADED && --loading === 0 && resolve()));
  }
}

export interface ShardPoolOptions {
  readonly threads: ShardThreads;
  readonly arena: ArenaHandle;
  /** Settings of shard i, structured-cloneable, with what has to be transferred along. */
  readonly settings: (index: number) => { settings: unknown; transfer?: readonly MessagePort[] };
  /** How many parts each shard mounts. */
  readonly parts: number;
  readonly log: Logger;
  /** Of the process; missing: nobody keeps them. */
  readonly events?: EventSink;
  /** Called before the shards start: whoever must not miss what their parts say at the start listens from here on. */
  readonly prepare?: (pool: ShardPool) => void;
  /** A shard has crashed. The process has to end now: its memory may be inconsistent. */
  readonly onCrash: (error: Error) => void;
}

/**
 * The shards of a process: long-running tasks of one piscina pool, started together, supervised, stopped together.
 * Messages of a shard's parts are emitted under their topic as `(message, shardIndex)`.
 */
export class ShardPool {
  readonly messages = new EventEmitter();
  readonly #pool: Piscina;
  readonly #ports: MessagePort[] = [];
  readonly #tasks: Promise<void>[] = [];
  readonly #probes: Probes[] = [];
  readonly #threadIds: (number | null)[] = [];
  #wakeHandles: WakeHandle[] = [];
  #ended = false;
  #stopping = false;

  private constructor(readonly options: ShardPoolOptions) {
    this.#pool = options.threads.pool;
  }

  /** Resolves when every shard has mounted its parts. Rejects with GatepathError, all shards ended, when one could not. */
  static async start(options: ShardPoolOptions): Promise<ShardPool> {
    const pool = new ShardPool(options);
    options.prepare?.(pool);
    const mounted = pool.#whenMounted();
    await pool.#start();
    const failure = await mounted;
    if (failure === null) return pool;
    options.log.log('debug', 'a shard did not start', { stack: failure.stack });
    await pool.#stopShards(STOP_DEADLINE_MS, () => Promise.resolve());
    throw new GatepathError('fatal', failure.code, failure.message, '');
  }

  get count(): number {
    return this.options.threads.count;
  }

  /** What the shard has written down so far; it goes on meanwhile. */
  probes(shard: number): Probes {
    return this.#probes[shard]!;
  }

  /** The system's number of the shard's thread; null: not known. */
  threadId(shard: number): number | null {
    return this.#threadIds[shard] ?? null;
  }

  /** Hears what the parts of all shards say under the topic. */
  on(topic: string, listener: (message: unknown, shard: number) => void): void {
    this.messages.on(topic, listener);
  }

  /** Nothing, when the shards have ended: what they were woken by is no more. */
  send(shard: number, topic: string, message: unknown): void {
    if (this.#ended) return;
    this.#ports[shard]!.postMessage({ topic, message });
    wake(this.#wakeHandles[shard]!);
  }

  broadcast(topic: string, message: unknown): void {
    for (let shard = 0; shard < this.count; shard++) this.send(shard, topic, message);
  }

  /** Asks every shard to end and waits for them; past the deadline the process kills itself: a thread blocked in a ring cannot be ended otherwise. */
  stop(deadlineMs = STOP_DEADLINE_MS): Promise<void> {
    return this.#stopShards(deadlineMs, () => this.#closeParts());
  }

  async #stopShards(deadlineMs: number, closeParts: () => Promise<void>): Promise<void> {
    this.#stopping = true;
    const watchdog = setTimeout(() => {
      this.options.log.log('fatal', `shards did not end within ${deadlineMs} ms; ending the process`);
      process.kill(process.pid, 'SIGKILL');
    }, deadlineMs);
    await closeParts();
    this.broadcast('stop', null);
    await Promise.allSettled(this.#tasks);
    this.#ended = true;
    clearTimeout(watchdog);
    for (const port of this.#ports) port.close();
    await this.#pool.destroy();
  }

  /** Part by part, each in all shards before the next: front ends first, what they lean on last. */
  async #closeParts(): Promise<void> {
    for (let part = 0; part < this.options.parts; part++) {
      await new Promise<void>(resolve => {
        let open = this.count;
        this.messages.on(`closed-${part}`, () => --open === 0 && resolve());
        this.broadcast('close', part);
      });
    }
  }

  async #start(): Promise<void> {
    const { count } = this;
    const { arena, log } = this.options;
    const mailboxes = createMailboxBuffers(count);
    const between = connectPairs(count);
    const startSignal = new SharedArrayBuffer(4);
    const ready: Promise<WakeHandle>[] = [];
    this.on('thread', (id, shard) => (this.#threadIds[shard] = id as number | null));
    for (let index = 0; index < count; index++) {
      const { port1, port2 } = new MessageChannel();
      this.#ports.push(port1);
      port1.on('message', (envelope: { topic: string; message: unknown }) => this.messages.emit(envelope.topic, envelope.message, index));
      const { settings, transfer = [] } = this.options.settings(index);
      const probes = new SharedArrayBuffer(PROBES_BYTES);
      this.#probes.push(createProbes(probes));
      const ports: ShardPorts = { main: port2, shards: between[index]! };
      const task: ShardTask = { index, count, arena, ports, mailboxes, startSignal, settings, probes };
      const transferList = [port2, ...between[index]!.filter(port => port !== null), ...transfer];
      const running = this.#pool.run(task, { transferList }) as Promise<void>;
      ready.push(this.#whenReady(index, running));
      this.#tasks.push(running);
    }
    this.messages.on('event', (event: EventDraft) => this.options.events?.emit(event));
    this.messages.on('log', (record: { level: LogLevel; message: string; fields: Record<string, unknown> }) =>
      log.log(record.level, record.message, record.fields),
    );
    this.#wakeHandles = await Promise.all(ready);
    for (const port of this.#ports) port.postMessage({ topic: 'start', message: this.#wakeHandles });
    Atomics.store(new Int32Array(startSignal), 0, 1);
    Atomics.notify(new Int32Array(startSignal), 0);
  }

  /** The first failure, or null, when all shards have tried. */
  #whenMounted(): Promise<MountFailure | null> {
    let waiting = this.count;
    let failure: MountFailure | null = null;
    return new Promise(resolve => {
      this.messages.on('mounted', (problem: MountFailure | null) => {
        failure ??= problem;
        if (--waiting === 0) resolve(failure);
      });
    });
  }

  #whenReady(index: number, running: Promise<void>): Promise<WakeHandle> {
    return new Promise((resolve, reject) => {
      this.messages.on('ready', (handle: WakeHandle, from: number) => from === index && resolve(handle));
      running.then(
        () => !this.#stopping && this.#crashed(new Error(`shard ${index} ended by itself`), reject),
        (error: unknown) => this.#crashed(error instanceof Error ? error : new Error(String(error)), reject),
      );
    });
  }

  #crashed(error: Error, rejectStart: (error: Error) => void): void {
    rejectStart(error);
    this.options.onCrash(error);
  }
}

function connectPairs(count: number): (MessagePort | null)[][] {
  const ports: (MessagePort | null)[][] = Array.from({ length: count }, () => new Array<MessagePort | null>(count).fill(null));
  for (let a = 0; a < count; a++) {
    for (let b = a + 1; b < count; b++) {
      const { port1, port2 } = new MessageChannel();
      ports[a]![b] = port1;
      ports[b]![a] = port2;
    }
  }
  return ports;
}
