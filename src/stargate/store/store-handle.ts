import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from 'node:worker_threads';
import type { Engine } from 'uring-engine';
import { BlockStore, type StoreLink } from './block-store.js';
import { StoreError, type StoreErrorCode } from './errors.js';
import { STORE_STOP_DEADLINE_MS } from './limits.js';
import { LmdbReader, openDatabase } from './lmdb.js';
import type { StoreCommand, StoreHello, StoreResult } from './messages.js';
import type { StoreControl, StoreReport, StoreThreadData } from './store-thread.js';

/** What a shard is given to reach the store. Structured-cloneable; `port` has to be in the transfer list. */
export interface StoreConnection {
  readonly directory: string;
  readonly port: MessagePort;
}

/**
 * The node's block store, as the main thread holds it: starts the store thread, hands connections to shards, stops it. The worker is
 * this directory's compiled `store-thread.js`: tests of this class import it from `dist`.
 */
export class StoreHandle {
  #stopped: (() => void) | null = null;
  #ended = false;

  private constructor(
    readonly directory: string,
    readonly worker: Worker,
    readonly control: MessagePort,
  ) {}

  /**
   * Opens or creates the block store `DIRECTORY/store`. `onFailed`: the store's disk failed (rule 6), or its thread crashed.
   * Throws {@link StoreError} when the directory holds something else.
   */
  static async start(dataDirectory: string, onFailed: (error: StoreError) => void): Promise<StoreHandle> {
    const directory = join(dataDirectory, 'store');
    mkdirSync(directory, { recursive: true });
    const { port1, port2 } = new MessageChannel();
    const data: StoreThreadData = { directory, control: port2 };
    const worker = new Worker(new URL('./store-thread.js', import.meta.url), { workerData: data, transferList: [port2] });
    const handle = new StoreHandle(directory, worker, port1);
    await new Promise<void>((resolve, reject) => {
      let fail: (error: StoreError) => void = reject;
      let notOpened: StoreError | null = null;
      const report = (message: StoreReport): void => {
        if (message.kind === 'ready') {
          fail = onFailed;
          resolve();
        } else if (message.kind === 'stopped') handle.#stopped?.();
        else {
          const error = new StoreError(message.code as StoreErrorCode, message.message);
          // Told when the thread has ended: a process that exits beside a thread that is about to may be ended by SIGABRT (Node 20).
          if (fail === reject) notOpened = error;
          else fail(error);
        }
      };
      worker.on('error', cause => fail(new StoreError('ERR_STORE_FAILED', 'the store thread crashed', { cause })));
      worker.on('exit', () => {
        // What it said last may still be on its way.
        for (let last = receiveMessageOnPort(port1); last !== undefined; last = receiveMessageOnPort(port1))
          report(last.message as StoreReport);
        if (handle.#ended) return;
        handle.#ended = fail === reject;
        fail(notOpened ?? new StoreError('ERR_STORE_FAILED', 'the store thread ended by itself'));
      });
      port1.on('message', report);
    });
    return handle;
  }

  connect(): StoreConnection {
    const { port1, port2 } = new MessageChannel();
    this.control.postMessage({ kind: 'connect', port: port2 } satisfies StoreControl, [port2]);
    return { directory: this.directory, port: port1 };
  }

  /** Writes what waits, closes the database, ends the thread. The shards must have ended before. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const stopped = new Promise<void>((resolve, reject) => {
      this.#stopped = resolve;
      setTimeout(() => reject(new StoreError('ERR_STORE_FAILED', 'the store thread did not end in time')), STORE_STOP_DEADLINE_MS).unref();
    });
    this.control.postMessage({ kind: 'stop' } satisfies StoreControl);
    await stopped;
    this.control.close();
    await this.worker.terminate();
  }
}

/** Opens the block store in a shard. The shard's wakes bring the answers. */
export function openBlockStore(
  connection: StoreConnection,
  engine: Pick<Engine, 'wakeHandle' | 'onWake'>,
  chunkCacheSlots?: number,
): BlockStore {
  const { port } = connection;
  let listener: (result: StoreResult) => void = () => undefined;
  const link: StoreLink = {
    send: (command: StoreCommand) => port.postMessage(command),
    onResult: given => {
      listener = given;
    },
  };
  port.postMessage({ kind: 'hello', wake: engine.wakeHandle } satisfies StoreHello);
  engine.onWake(() => {
    for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port))
      listener(received.message as StoreResult);
  });
  return new BlockStore(new LmdbReader(openDatabase(connection.directory)), link, chunkCacheSlots);
}
