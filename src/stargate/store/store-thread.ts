import { closeSync, fsyncSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads';
import { wake, type WakeHandle } from 'uring-engine';
import { applyCommand, applyFormat } from './apply.js';
import { StoreError } from './errors.js';
import { MAX_COMMANDS_PER_COMMIT } from './limits.js';
import { openDatabase, transactionIn, type StoreDatabase } from './lmdb.js';
import type { StoreCommand, StoreHello, StoreResult } from './messages.js';

/** What the main thread hands to the store thread. */
export interface StoreThreadData {
  readonly directory: string;
  readonly control: MessagePort;
}

/** Main thread → store thread. */
export type StoreControl = { readonly kind: 'connect'; readonly port: MessagePort } | { readonly kind: 'stop' };
/** Store thread → main thread. */
export type StoreReport =
  { readonly kind: 'ready' } | { readonly kind: 'stopped' } | { readonly kind: 'failed'; readonly code: string; readonly message: string };

interface Shard {
  readonly port: MessagePort;
  wake: WakeHandle | null;
}

/**
 * The one writer of the node's block store. It collects what all shards have sent, carries it out in one transaction, and answers
 * when that is on stable storage; meanwhile the next commands collect.
 */
class StoreThread {
  readonly #shards: Shard[] = [];
  #waiting: { readonly shard: Shard; readonly command: StoreCommand }[] = [];
  #scheduled = false;
  #stopping = false;
  #failure: string | null = null;

  constructor(
    readonly control: MessagePort,
    readonly directory: string,
    readonly database: StoreDatabase,
  ) {
    database.transactionSync(() => applyFormat(transactionIn(database)));
    // The names of a new database: without them no commit is durable.
    syncDirectory(directory);
    syncDirectory(dirname(directory));
    control.on('message', (message: StoreControl) => {
      if (message.kind === 'connect') this.#connect(message.port);
      else {
        this.#stopping = true;
        this.#schedule();
      }
    });
  }

  #connect(port: MessagePort): void {
    const shard: Shard = { port, wake: null };
    this.#shards.push(shard);
    port.on('message', (message: StoreCommand | StoreHello) => this.#take(shard, message));
  }

  #take(shard: Shard, message: StoreCommand | StoreHello): void {
    if (message.kind === 'hello') shard.wake = message.wake;
    else this.#waiting.push({ shard, command: message });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After all messages that are there by now.
    setImmediate(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    for (const shard of this.#shards) {
      for (let more = receiveMessageOnPort(shard.port); more !== undefined; more = receiveMessageOnPort(shard.port)) {
        this.#take(shard, more.message as StoreCommand | StoreHello);
      }
    }
    if (this.#waiting.length > 0) this.#commit();
    if (this.#waiting.length > 0) this.#schedule();
    else if (this.#stopping) this.#stop();
  }

  #commit(): void {
    const batch = this.#waiting.splice(0, MAX_COMMANDS_PER_COMMIT);
    const unfinished: typeof batch = [];
    let answers: { readonly shard: Shard; readonly result: StoreResult }[] = [];
    if (this.#failure === null) {
      try {
        this.database.transactionSync(() => {
          const txn = transactionIn(this.database);
          for (const one of batch) {
            const result = applyCommand(txn, one.command);
            if (result === null) unfinished.push(one);
            else answers.push({ shard: one.shard, result });
          }
        });
        this.#waiting.push(...unfinished);
      } catch (error) {
        // The whole transaction is as if it had not been.
        if (isNoSpace(error)) answers = batch.map(({ shard, command }) => ({ shard, result: { kind: 'full', id: command.id } }));
        else this.#fail(error);
      }
    }
    // Durable from here on.
    if (this.#failure !== null)
      return this.#answerAll(batch.map(({ shard }) => ({ shard, result: { kind: 'failed', message: this.#failure! } })));
    this.#answerAll(answers);
  }

  #answerAll(answers: readonly { readonly shard: Shard; readonly result: StoreResult }[]): void {
    const woken = new Set<Shard>();
    for (const { shard, result } of answers) {
      shard.port.postMessage(result);
      woken.add(shard);
    }
    for (const shard of woken) if (shard.wake !== null) wake(shard.wake);
  }

  /** Rule 6: no retry, no later answer but this one. */
  #fail(error: unknown): void {
    this.#failure = `the block store cannot be written: ${error instanceof Error ? error.message : String(error)}`;
    this.#waiting = [];
    this.control.postMessage({ kind: 'failed', code: 'ERR_STORE_FAILED', message: this.#failure } satisfies StoreReport);
    this.#answerAll(this.#shards.map(shard => ({ shard, result: { kind: 'failed', message: this.#failure! } })));
  }

  #stop(): void {
    for (const { port } of this.#shards) port.close();
    void this.database.close().then(() => {
      this.control.postMessage({ kind: 'stopped' } satisfies StoreReport);
      this.control.close();
    });
  }
}

/** LMDB gives the errno of the system, or a number of its own where the map is full. */
const NO_SPACE: readonly unknown[] = [constants.errno.ENOSPC, constants.errno.EDQUOT, -30_792];

function isNoSpace(error: unknown): boolean {
  return NO_SPACE.includes((error as { code?: unknown }).code);
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

const { control, directory } = workerData as StoreThreadData;
try {
  new StoreThread(control, directory, openDatabase(directory));
  control.postMessage({ kind: 'ready' } satisfies StoreReport);
} catch (error) {
  const code = error instanceof StoreError ? error.code : 'ERR_STORE_FAILED';
  control.postMessage({ kind: 'failed', code, message: error instanceof Error ? error.message : String(error) } satisfies StoreReport);
  control.close();
}
