import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { ascii, hex, u16, u32, u64, unhex } from './hex.js';

const TIMEOUT_MS = 10_000;

export interface OptionAnswer {
  readonly option: number;
  readonly type: number;
  readonly data: string;
}

export type Reply =
  | { readonly kind: 'simple'; readonly errno: number; readonly cookie: bigint }
  | {
      readonly kind: 'chunk';
      readonly done: boolean;
      readonly type: number;
      readonly cookie: bigint;
      readonly data: Uint8Array;
      /** Of an extended header: what the request said. */
      readonly offset?: bigint;
    };

export interface RawRequest {
  readonly type: number;
  readonly cookie?: bigint;
  readonly offset?: number | bigint;
  readonly length?: number | bigint;
  readonly flags?: number;
  readonly payload?: Uint8Array;
  readonly magic?: number;
}

/** NBD_CMD_FLAG_PAYLOAD_LEN */
export const PAYLOAD_FLAG = 32;

export function encodeRequest({
  type,
  cookie = 0n,
  offset = 0,
  length = 0,
  flags = 0,
  payload,
  magic = 0x25609513,
}: RawRequest): Uint8Array {
  const header = unhex(u32(magic) + u16(flags) + u16(type) + u64(cookie) + u64(offset) + u32(Number(length)));
  return payload === undefined ? header : Buffer.concat([header, payload]);
}

/** With an extended header. A payload has its flag, unless `flags` says otherwise ({@link PAYLOAD_FLAG} set or the payload left out). */
export function encodeExtendedRequest({
  type,
  cookie = 0n,
  offset = 0,
  length = 0,
  flags = 0,
  payload,
  magic = 0x21e41c71,
}: RawRequest): Uint8Array {
  const allFlags = payload === undefined ? flags : flags | PAYLOAD_FLAG;
  const header = unhex(u32(magic) + u16(allFlags) + u16(type) + u64(cookie) + u64(offset) + u64(length));
  return payload === undefined ? header : Buffer.concat([header, payload]);
}

export function encodeOption(option: number, data = ''): Uint8Array {
  return unhex(ascii('IHAVEOPT') + u32(option) + u32(data.length / 2) + data);
}

export function goData(name: string): string {
  return u32(Buffer.byteLength(name)) + ascii(name) + u16(0);
}

export function contextData(name: string): string {
  return u32(Buffer.byteLength(name)) + ascii(name) + u32(1) + u32(15) + ascii('base:allocation');
}

/** A Unix socket's path, or a TCP address. */
export type Target = string | { readonly host: string; readonly port: number };

/** A client that says exactly what it is told to, right or wrong. Every wait has an end. */
export class RawClient {
  #chunks: Buffer[] = [];
  #held = 0;
  #ended = false;
  #wake: (() => void) | null = null;
  socket: Socket;
  /** Requests and replies have extended headers. */
  extended = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#listen();
  }

  #listen(): void {
    const { socket } = this;
    const end = (): void => {
      if (socket !== this.socket) return;
      this.#ended = true;
      this.#wake?.();
    };
    socket
      .on('data', chunk => {
        this.#chunks.push(chunk);
        this.#held += chunk.length;
        this.#wake?.();
      })
      .on('end', end)
      .on('error', end)
      .on('close', end);
  }

  /** From here on all is said in TLS; the server is trusted as the options say. */
  async startTls(options: ConnectionOptions): Promise<void> {
    const plain = this.socket;
    plain.removeAllListeners('data');
    const secure = connectTls({ socket: plain, ...options });
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', resolve).once('error', reject);
      secure.once('close', () => reject(new Error('closed in the TLS handshake')));
    });
    this.socket = secure;
    this.#listen();
  }

  static async connect(to: Target): Promise<RawClient> {
    const socket = connect({ ...(typeof to === 'string' ? { path: to } : to), allowHalfOpen: true });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new RawClient(socket);
  }

  /** Connected and in the transmission phase. */
  static async ready(to: Target, name: string, { structured = false, contexts = false } = {}): Promise<RawClient> {
    const client = await RawClient.connect(to);
    await client.begin();
    if (structured || contexts) await client.option(8);
    if (contexts) await client.option(10, contextData(name));
    const answers = await client.option(7, goData(name));
    if (answers.at(-1)!.type !== 1) throw new Error(`GO was refused: ${JSON.stringify(answers)}`);
    return client;
  }

  async begin(flags = 3): Promise<void> {
    const greeting = hex(await this.read(18));
    if (greeting !== ascii('NBDMAGICIHAVEOPT') + '0003') throw new Error(`greeting ${greeting}`);
    this.send(unhex(u32(flags)));
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** One option, and its answers up to the last one. */
  async option(option: number, data = ''): Promise<OptionAnswer[]> {
    this.send(encodeOption(option, data));
    return this.answers();
  }

  async answers(): Promise<OptionAnswer[]> {
    const answers: OptionAnswer[] = [];
    for (;;) {
      const header = await this.read(20);
      if (hex(header.subarray(0, 8)) !== '0003e889045565a9') throw new Error(`option reply magic ${hex(header)}`);
      const answer = { option: header.readUInt32BE(8), type: header.readUInt32BE(12), data: hex(await this.read(header.readUInt32BE(16))) };
      answers.push(answer);
      if (answer.type === 1 || answer.type >= 0x8000_0000) return answers;
    }
  }

  request(...requests: RawRequest[]): void {
    this.send(Buffer.concat(requests.map(this.extended ? encodeExtendedRequest : encodeRequest)));
  }

  async reply(): Promise<Reply> {
    const magic = (await this.read(4)).readUInt32BE(0);
    if (magic === 0x67446698) {
      const rest = await this.read(12);
      return { kind: 'simple', errno: rest.readUInt32BE(0), cookie: rest.readBigUInt64BE(4) };
    }
    if (magic === 0x6e8a278c) {
      const rest = await this.read(28);
      const data = await this.read(Number(rest.readBigUInt64BE(20)));
      return {
        kind: 'chunk',
        done: (rest.readUInt16BE(0) & 1) === 1,
        type: rest.readUInt16BE(2),
        cookie: rest.readBigUInt64BE(4),
        offset: rest.readBigUInt64BE(12),
        data,
      };
    }
    if (magic !== 0x668e33ef) throw new Error(`reply magic ${magic.toString(16)}`);
    const rest = await this.read(16);
    const data = await this.read(rest.readUInt32BE(12));
    return { kind: 'chunk', done: (rest.readUInt16BE(0) & 1) === 1, type: rest.readUInt16BE(2), cookie: rest.readBigUInt64BE(4), data };
  }

  /** The errno of a simple reply or of an ERROR chunk, 0 of NONE; with the cookie. */
  async outcome(): Promise<{ errno: number; cookie: bigint }> {
    const reply = await this.reply();
    if (reply.kind === 'simple') return { errno: reply.errno, cookie: reply.cookie };
    return { errno: reply.type >= 0x8000 ? Buffer.from(reply.data).readUInt32BE(0) : 0, cookie: reply.cookie };
  }

  async read(bytes: number): Promise<Buffer> {
    await this.#wait(() => this.#held >= bytes, `${bytes} bytes`);
    const taken = Buffer.allocUnsafe(bytes);
    for (let at = 0; at < bytes;) {
      const chunk = this.#chunks[0]!;
      const count = chunk.copy(taken, at);
      at += count;
      if (count === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(count);
    }
    this.#held -= bytes;
    return taken;
  }

  /** Waits until the server has closed; gives what came before. */
  async end(): Promise<Buffer> {
    await this.#wait(() => this.#ended, 'end of the connection');
    return Buffer.concat(this.#chunks);
  }

  get ended(): boolean {
    return this.#ended;
  }

  destroy(): void {
    this.socket.destroy();
  }

  async #wait(done: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + TIMEOUT_MS;
    while (!done()) {
      if (this.#ended) throw new Error(`the server closed before: ${what} (${this.#held} bytes are there)`);
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`timed out: ${what} (${this.#held} bytes are there)`);
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
