import { receiveMessageOnPort, MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { Operation, Stage } from './stage.js';

interface Answer {
  readonly value?: unknown;
  readonly error?: string;
}

/** A socket of Node's on a thread of its own (peer-thread.mjs): does what no engine can be asked to. */
export class Peer {
  private constructor(
    readonly worker: Worker,
    readonly port: MessagePort,
  ) {}

  static async start(): Promise<Peer> {
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(new URL('./peer-thread.mjs', import.meta.url), { workerData: { port: port2 }, transferList: [port2] });
    await new Promise((resolve, reject) => {
      port1.once('message', resolve);
      worker.once('error', reject);
    });
    return new Peer(worker, port1);
  }

  /** Has the peer do something; it is waited for within the engine's turns, which may be the only ones this thread has. */
  *do<Value = unknown>(stage: Stage, command: string, parameters: object = {}): Generator<Operation, Value, number> {
    this.port.postMessage({ command, ...parameters });
    for (;;) {
      const received = receiveMessageOnPort(this.port) as { message: Answer } | undefined;
      if (received === undefined) {
        yield stage.delay(5e5);
        continue;
      }
      const { value, error } = received.message;
      if (error !== undefined) throw new Error(`peer: ${command}: ${error}`);
      return value as Value;
    }
  }

  async stop(): Promise<void> {
    this.port.close();
    await this.worker.terminate();
  }
}
