import * as nbd from './protocol.js';
import { ByteStream, ConnectionLost, type NbdAddress } from './stream.js';

/** The server's answer was an error: `errnoCode` is the protocol's (5 EIO, 22 EINVAL, 28 ENOSPC, ...). */
export class NbdReplyError extends Error {
  override readonly name = 'NbdReplyError';
  constructor(
    readonly errnoCode: number,
    what: string,
  ) {
    super(`${what}: the server answered with error ${errnoCode}`);
  }
}

interface Pending {
  readonly what: string;
  readonly readBytes: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

const NOTHING = Buffer.alloc(0);

/**
 * A small NBD client for tests: fixed newstyle, GO, simple replies, any number of requests in flight.
 * It shares no code with the product. Every request settles: with its reply, or with `ConnectionLost`.
 */
export class NbdClient {
  readonly sizeBytes: number;
  readonly transmissionFlags: number;
  readonly #stream: ByteStream;
  readonly #pending = new Map<bigint, Pending>();
  #nextCookie = 1n;
  #lost: ConnectionLost | undefined;

  private constructor(stream: ByteStream, sizeBytes: number, transmissionFlags: number) {
    this.#stream = stream;
    this.sizeBytes = sizeBytes;
    this.transmissionFlags = transmissionFlags;
    stream.socket.on('error', () => undefined);
    stream.socket.on('close', () => this.#fail('the connection closed'));
    this.#awaitReply();
  }

  static async connect(address: NbdAddress, exportName: string): Promise<NbdClient> {
    const stream = await ByteStream.open(address);
    stream.socket.on('error', () => undefined);
    const greeting = await stream.readExactly(18);
    if (greeting.readBigUInt64BE(0) !== nbd.NBD_MAGIC || greeting.readBigUInt64BE(8) !== nbd.OPTION_MAGIC) {
      throw new Error(`not an NBD newstyle server: ${greeting.toString('hex')}`);
    }
    stream.socket.write(goOption(exportName));
    let sizeBytes: number | undefined;
    let flags = 0;
    for (;;) {
      const header = await stream.readExactly(20);
      if (header.readBigUInt64BE(0) !== nbd.OPTION_REPLY_MAGIC) throw new Error('bad option reply magic');
      const type = header.readUInt32BE(12);
      const length = header.readUInt32BE(16);
      const data = length === 0 ? NOTHING : await stream.readExactly(length);
      if (type === nbd.REP_ACK) break;
      if (type !== nbd.REP_INFO) {
        stream.socket.destroy();
        throw new Error(`export ${exportName}: GO refused with 0x${type.toString(16)} ${data.toString()}`);
      }
      if (data.readUInt16BE(0) === nbd.INFO_EXPORT) {
        sizeBytes = Number(data.readBigUInt64BE(2));
        flags = data.readUInt16BE(10);
      }
    }
    if (sizeBytes === undefined) throw new Error('GO acknowledged without the export information');
    return new NbdClient(stream, sizeBytes, flags);
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#request(nbd.CMD_READ, 0, offsetBytes, lengthBytes, NOTHING, lengthBytes);
  }

  async write(offsetBytes: number, data: Buffer, options: { readonly fua?: boolean } = {}): Promise<void> {
    await this.#request(nbd.CMD_WRITE, options.fua === true ? nbd.CMD_FLAG_FUA : 0, offsetBytes, data.length, data, 0);
  }

  async writeZeroes(offsetBytes: number, lengthBytes: number, options: { readonly noHole?: boolean } = {}): Promise<void> {
    const flags = options.noHole === true ? nbd.CMD_FLAG_NO_HOLE : 0;
    await this.#request(nbd.CMD_WRITE_ZEROES, flags, offsetBytes, lengthBytes, NOTHING, 0);
  }

  async trim(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#request(nbd.CMD_TRIM, 0, offsetBytes, lengthBytes, NOTHING, 0);
  }

  async flush(): Promise<void> {
    await this.#request(nbd.CMD_FLUSH, 0, 0, 0, NOTHING, 0);
  }

  /** Says goodbye and closes. */
  async disconnect(): Promise<void> {
    if (this.#lost !== undefined) return;
    const closed = new Promise<void>(resolve => this.#stream.socket.once('close', () => resolve()));
    this.#stream.socket.end(requestHeader(nbd.CMD_DISC, 0, 0n, 0, 0));
    await closed;
  }

  /** Closes without a word. */
  destroy(): void {
    this.#stream.socket.destroy();
  }

  #request(command: number, flags: number, offsetBytes: number, lengthBytes: number, payload: Buffer, readBytes: number): Promise<Buffer> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    const cookie = this.#nextCookie++;
    return new Promise((resolve, reject) => {
      this.#pending.set(cookie, { what: `command ${command} at ${offsetBytes}+${lengthBytes}`, readBytes, resolve, reject });
      const { socket } = this.#stream;
      socket.cork();
      socket.write(requestHeader(command, flags, cookie, offsetBytes, lengthBytes));
      if (payload.length > 0) socket.write(payload);
      socket.uncork();
    });
  }

  #awaitReply(): void {
    this.#stream.read(nbd.SIMPLE_REPLY_BYTES, header => {
      const cookie = header.readBigUInt64BE(8);
      const pending = this.#pending.get(cookie);
      if (header.readUInt32BE(0) !== nbd.SIMPLE_REPLY_MAGIC || pending === undefined) {
        this.#fail(`a reply that nobody asked for: ${header.toString('hex')}`);
        this.#stream.socket.destroy();
        return;
      }
      const error = header.readUInt32BE(4);
      if (error !== 0 || pending.readBytes === 0) {
        this.#pending.delete(cookie);
        if (error === 0) pending.resolve(NOTHING);
        else pending.reject(new NbdReplyError(error, pending.what));
        this.#awaitReply();
        return;
      }
      this.#stream.read(pending.readBytes, data => {
        this.#pending.delete(cookie);
        pending.resolve(data);
        this.#awaitReply();
      });
    });
  }

  #fail(why: string): void {
    this.#lost ??= new ConnectionLost(why);
    for (const pending of this.#pending.values()) pending.reject(this.#lost);
    this.#pending.clear();
  }
}

function goOption(exportName: string): Buffer {
  const name = Buffer.from(exportName);
  const message = Buffer.alloc(4 + 16 + 4 + name.length + 2);
  message.writeUInt32BE(nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES, 0);
  message.writeBigUInt64BE(nbd.OPTION_MAGIC, 4);
  message.writeUInt32BE(nbd.OPT_GO, 12);
  message.writeUInt32BE(4 + name.length + 2, 16);
  message.writeUInt32BE(name.length, 20);
  name.copy(message, 24);
  return message;
}

function requestHeader(command: number, flags: number, cookie: bigint, offsetBytes: number, lengthBytes: number): Buffer {
  const header = Buffer.allocUnsafe(nbd.REQUEST_BYTES);
  header.writeUInt32BE(nbd.REQUEST_MAGIC, 0);
  header.writeUInt16BE(flags, 4);
  header.writeUInt16BE(command, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeBigUInt64BE(BigInt(offsetBytes), 16);
  header.writeUInt32BE(lengthBytes, 24);
  return header;
}
