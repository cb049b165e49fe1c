import { connect, type Socket } from 'node:net';
import { within } from '../../support/wait.js';

type Json = Record<string, unknown>;

/** A QMP connection (QEMU's control socket): commands by promise, events kept in order of arrival. */
export class Qmp {
  readonly events: Json[] = [];
  readonly #socket: Socket;
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  #received = '';
  #closed = false;
  #greeted: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#closed = true;
      for (const waiting of this.#waiting.splice(0)) waiting.reject(new Error('QEMU closed the QMP connection'));
    });
  }

  static async open(path: string, timeoutMs = 10_000): Promise<Qmp> {
    const socket = connect(path);
    const qmp = new Qmp(socket);
    const greeting = new Promise<void>((resolve, reject) => {
      qmp.#greeted = resolve;
      socket.once('error', reject);
    });
    await within(`QMP greeting on ${path}`, timeoutMs, greeting);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  async execute(command: string, args: Json = {}, timeoutMs = 20_000): Promise<unknown> {
    if (this.#closed) throw new Error(`QMP ${command}: the connection is closed`);
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    return within(`QMP ${command}`, timeoutMs, answer);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    this.#received += text;
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const message = JSON.parse(this.#received.slice(0, end)) as Json;
      this.#received = this.#received.slice(end + 1);
      if ('QMP' in message) this.#greeted();
      else if ('event' in message) this.events.push(message);
      else if ('error' in message) this.#waiting.shift()?.reject(new Error(`QMP: ${JSON.stringify(message['error'])}`));
      else if ('return' in message) this.#waiting.shift()?.resolve(message['return']);
    }
  }
}
