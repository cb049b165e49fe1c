import { Worker } from 'node:worker_threads';
import { GatepathError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import type { ShardPool } from '../../shard/pool.js';
import { Topic } from '../mailbox-messages.js';
import type { TlsCredentials } from './credentials.js';
import type { DialRequest, FromTlsThread, TlsThreadData, ToTlsThread } from './messages.js';

export interface TlsThreadOptions {
  readonly credentials: TlsCredentials;
  /** The shard that gets accepted connections. */
  readonly acceptingShard: number;
  readonly log: Logger;
  /** The thread has ended by itself: so has everything over TCP. */
  readonly onFatal: (message: string) => void;
}

type Shards = Pick<ShardPool, 'on' | 'send'>;

/**
 * The thread that does TLS for the shards of a process, in both directions, seen from its main thread. The shards have the plaintext of each connection on a
 * socket, as if there were no TLS.
 */
export class TlsThread {
  readonly #worker: Worker;
  #pool: Shards | null = null;
  #onListening: ((problem: { readonly code: string; readonly message: string } | null) => void) | null = null;
  #isStopping = false;

  constructor(readonly options: TlsThreadOptions) {
    const data: TlsThreadData = { credentials: options.credentials };
    // Descriptors come from here and go to shards: Node's books on them would be wrong.
    this.#worker = new Worker(workerUrl(), { workerData: data, trackUnmanagedFds: false });
    this.#worker.unref();
    this.#worker.on('message', message => this.#onMessage(message as FromTlsThread));
    this.#worker.on('error', error => options.onFatal(`the TLS thread has crashed: ${error.stack ?? error.message}`));
    this.#worker.on('exit', () => {
      if (!this.#isStopping) options.onFatal('the TLS thread has ended by itself');
    });
  }

  /** To be called before the shards start. */
  attach(pool: Shards): void {
    this.#pool = pool;
    pool.on(Topic.dial, (message, shard) => this.#say({ kind: 'dial', shard, ...(message as DialRequest) }));
  }

  /** Rejects with GatepathError where the address cannot be had. */
  async listen(host: string, port: number): Promise<void> {
    const problem = await new Promise<{ readonly code: string; readonly message: string } | null>(resolve => {
      this.#onListening = resolve;
      this.#say({ kind: 'listen', host, port });
    });
    if (problem === null) return;
    const action = 'name another address in "listen", or stop who has it';
    throw new GatepathError('invalid', problem.code, `cannot listen at ${host}:${port}: ${problem.message}`, action);
  }

  /** The shards are about to end: nobody is accepted any more, and dials fail at once. What is connected stays. */
  refuse(): void {
    this.#say({ kind: 'refuse' });
  }

  /** After the shards have ended. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#worker.terminate();
  }

  #say(message: ToTlsThread): void {
    this.#worker.postMessage(message);
  }

  #onMessage(message: FromTlsThread): void {
    const pool = this.#pool;
    if (message.kind === 'log') this.options.log.log(message.level, message.message, message.fields);
    else if (message.kind === 'listening') this.#onListening?.(message.problem);
    else if (message.kind === 'accepted') pool?.send(this.options.acceptingShard, Topic.accepted, { fd: message.fd, peer: message.peer });
    else pool?.send(message.shard, Topic.dialed, { request: message.request, result: message.result });
  }
}

/** Run from its TypeScript source (by a loader), it uses the worker that was built: loaders are not inherited. */
function workerUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? '../../../dist/transport/tls/tls-worker.js' : './tls-worker.js', import.meta.url);
}
