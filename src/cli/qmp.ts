import { connect, type Socket } from 'node:net';
import { GatepathError } from '../base/errors.js';

type Json = Record<string, unknown>;
type Event = { readonly event: string; readonly data: Json };

const OPEN_TIMEOUT_MS = 5_000;
const COMMAND_TIMEOUT_MS = 30_000;
const MAX_MESSAGE_BYTES = 16 << 20;

/** QEMU's control socket (docs/interop/qmp-spec of QEMU): one command at a time, and events. */
export class Qmp {
  readonly #socket: Socket;
  #received = '';
  #onMessage: (message: Json) => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;
  readonly #listeners = new Set<(event: Event) => void>();
  #problem: Error | null = null;

  private constructor(readonly path: string) {
    this.#socket = connect(path);
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text: string) => this.#take(text));
    this.#socket.on('error', error => this.#broken(error));
    this.#socket.on('close', () => this.#broken(new Error('QEMU closed the connection')));
  }

  static async open(path: string): Promise<Qmp> {
    const qmp = new Qmp(path);
    try {
      await qmp.#next('the greeting of QEMU', OPEN_TIMEOUT_MS, message => 'QMP' in message);
      await qmp.execute('qmp_capabilities');
      return qmp;
    } catch (error) {
      qmp.close();
      throw error;
    }
  }

  /** Resolves with what the command returns. Rejects with QmpError where QEMU refuses it. */
  async execute(command: string, args: Json = {}): Promise<unknown> {
    const answer = this.#next(`the answer to ${command}`, COMMAND_TIMEOUT_MS, message => 'return' in message || 'error' in message);
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const message = await answer;
    if (!('error' in message)) return message['return'];
    const { class: errorClass, desc } = message['error'] as { class: string; desc: string };
    throw new QmpError(command, errorClass, desc);
  }

  /** Resolves when the event comes, with true; with false after `timeoutMs`. To be called before what causes it. */
  waitFor(event: string, timeoutMs: number, matches: (data: Json) => boolean): Promise<boolean> {
    return new Promise(resolve => {
      const listener = (heard: Event): void => {
        if (heard.event === event && matches(heard.data)) done(true);
      };
      const done = (came: boolean): void => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
        resolve(came);
      };
      const timer = setTimeout(() => done(false), timeoutMs);
      this.#listeners.add(listener);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #next(what: string, timeoutMs: number, wanted: (message: Json) => boolean): Promise<Json> {
    if (this.#problem !== null) return Promise.reject(this.#problem);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(unreachable(this.path, `${what} did not come within ${timeoutMs} ms`)), timeoutMs);
      this.#fail = error => {
        clearTimeout(timer);
        reject(error);
      };
      this.#onMessage = message => {
        if (!wanted(message)) return;
        clearTimeout(timer);
        resolve(message);
      };
    });
  }

  #take(text: string): void {
    this.#received += text;
    if (this.#received.length > MAX_MESSAGE_BYTES) this.#socket.destroy(new Error('a message is too long'));
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const line = this.#received.slice(0, end);
      this.#received = this.#received.slice(end + 1);
      let message: Json;
      try {
        message = JSON.parse(line) as Json;
      } catch {
        this.#socket.destroy(new Error('it does not speak QMP'));
        return;
      }
      if (typeof message['event'] === 'string') {
        for (const listener of [...this.#listeners]) listener({ event: message['event'], data: (message['data'] ?? {}) as Json });
      } else this.#onMessage(message);
    }
  }

  #broken(cause: Error): void {
    this.#problem ??= unreachable(this.path, cause.message, cause);
    this.#fail(this.#problem);
  }
}

/** QEMU says no. */
export class QmpError extends GatepathError {
  constructor(
    readonly command: string,
    readonly errorClass: string,
    readonly description: string,
  ) {
    super('invalid', 'ERR_QMP', `QEMU refuses ${command}: ${description}`, '');
  }
}

function unreachable(path: string, why: string, cause?: Error): GatepathError {
  const action = 'name the socket of a running QEMU (its -qmp unix:PATH,server=on,wait=off) that nobody else is connected to';
  return new GatepathError('retryable', 'ERR_QMP_UNREACHABLE', `QMP at ${path}: ${why}`, action, { cause });
}
