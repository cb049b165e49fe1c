import { connect, type Socket } from 'node:net';

/** Constants of the NBD protocol (doc/proto.md of NetworkBlockDevice/nbd), as much of it as is spoken here. */
const NBD_MAGIC = 0x4e42444d41474943n;
const OPTION_MAGIC = 0x49484156454f5054n;
const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;
const FIXED_NEWSTYLE_NO_ZEROES = 3;
const OPT_GO = 7;
const REP_ACK = 1;
const REP_INFO = 3;
const CMD_READ = 0;
const CMD_WRITE = 1;
const CMD_DISC = 2;
const CMD_FLUSH = 3;
const REQUEST_BYTES = 28;
const REPLY_BYTES = 16;
const OPTION_REPLY_BYTES = 20;
/** Longest information that an option's answer may carry. */
const MAX_OPTION_DATA_BYTES = 64 << 10;
/** Longest read, where its owner does not say. */
export const MAX_READ_BYTES = 256 << 10;

/** Of a connection's owner: what comes. `data` is valid during the call only, and null for what is no read. */
export interface ConnectionOwner {
  answered(cookie: number, errorCode: number, data: Buffer | null): void;
  /** Once, when it ends without our doing. Its requests have no answer. */
  lost(why: string): void;
}

/** Room for a write's request and its payload: whole in one buffer, which belongs to the socket until the answer. */
export function requestBuffer(payloadBytes = 0): Buffer {
  return Buffer.alloc(REQUEST_BYTES + payloadBytes);
}

export const payloadOf = (request: Buffer): Buffer => request.subarray(REQUEST_BYTES);

/**
 * An NBD connection with any number of requests in flight: fixed newstyle, GO, simple replies. Cookies are chosen by the owner, unique among those
 * outstanding.
 */
export class NbdConnection {
  readonly #socket: Socket;
  readonly #header = Buffer.alloc(REPLY_BYTES);
  readonly #data: Buffer;
  /** Bytes to come for each request that is outstanding. */
  readonly #outstanding = new Map<number, number>();
  #headerBytes = 0;
  #dataBytes = 0;
  /** Of the reply that is being received; -1: none. */
  #cookie = -1;
  #wanted = 0;
  #corked = false;
  #closed = false;

  private constructor(
    socket: Socket,
    readonly owner: ConnectionOwner,
    maxReadBytes: number,
  ) {
    this.#data = Buffer.alloc(maxReadBytes);
    this.#socket = socket;
    socket.on('data', chunk => this.#take(chunk));
    socket.on('close', () => this.#lose('the server closed the connection'));
    // The handshake has read it in the other mode.
    socket.resume();
  }

  static async open(socketPath: string, exportName: string, owner: ConnectionOwner, maxReadBytes = MAX_READ_BYTES): Promise<NbdConnection> {
    const socket = connect(socketPath);
    // A reset comes as an error first; the close that follows is what counts.
    socket.on('error', () => undefined);
    try {
      await negotiate(socket, exportName);
      return new NbdConnection(socket, owner, maxReadBytes);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** The request's payload is in place: all the rest of its buffer. */
  write(request: Buffer, cookie: number, offsetBytes: number): void {
    this.#outstanding.set(cookie, 0);
    encodeRequest(request, CMD_WRITE, cookie, offsetBytes, request.length - REQUEST_BYTES);
    this.#send(request);
  }

  /** Answered when all writes that were answered before, by any connection to the export, are durable. */
  flush(request: Buffer, cookie: number): void {
    this.#outstanding.set(cookie, 0);
    encodeRequest(request, CMD_FLUSH, cookie, 0, 0);
    this.#send(request.subarray(0, REQUEST_BYTES));
  }

  read(request: Buffer, cookie: number, offsetBytes: number, lengthBytes: number): void {
    this.#outstanding.set(cookie, lengthBytes);
    encodeRequest(request, CMD_READ, cookie, offsetBytes, lengthBytes);
    this.#send(request.subarray(0, REQUEST_BYTES));
  }

  /** Says goodbye. Nobody is told of the end. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const request = Buffer.alloc(REQUEST_BYTES);
    encodeRequest(request, CMD_DISC, 0, 0, 0);
    this.#socket.end(request);
  }

  /** What is sent in one turn goes out together. */
  #send(bytes: Buffer): void {
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(bytes);
  }

  #take(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#closed;) {
      if (this.#cookie < 0) {
        const copied = chunk.copy(this.#header, this.#headerBytes, at);
        at += copied;
        this.#headerBytes += copied;
        if (this.#headerBytes === REPLY_BYTES) this.#beginReply();
      } else {
        const copied = chunk.copy(this.#data, this.#dataBytes, at, Math.min(chunk.length, at + this.#wanted - this.#dataBytes));
        at += copied;
        this.#dataBytes += copied;
        if (this.#dataBytes === this.#wanted) this.#endReply(0);
      }
    }
  }

  #beginReply(): void {
    this.#headerBytes = 0;
    const cookie = this.#header.readUInt32BE(12);
    const wanted = this.#outstanding.get(cookie);
    if (this.#header.readUInt32BE(0) !== SIMPLE_REPLY_MAGIC || wanted === undefined) {
      this.#socket.destroy();
      return this.#lose(`an answer that nobody asked for: ${this.#header.toString('hex')}`);
    }
    const error = this.#header.readUInt32BE(4);
    this.#cookie = cookie;
    this.#wanted = wanted;
    this.#dataBytes = 0;
    if (error !== 0 || wanted === 0) this.#endReply(error);
  }

  #endReply(error: number): void {
    const cookie = this.#cookie;
    this.#cookie = -1;
    this.#outstanding.delete(cookie);
    this.owner.answered(cookie, error, error === 0 && this.#wanted > 0 ? this.#data.subarray(0, this.#wanted) : null);
  }

  #lose(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.owner.lost(why);
  }
}

function encodeRequest(target: Buffer, command: number, cookie: number, offsetBytes: number, lengthBytes: number): void {
  target.writeUInt32BE(REQUEST_MAGIC, 0);
  target.writeUInt16BE(0, 4);
  target.writeUInt16BE(command, 6);
  target.writeUInt32BE(0, 8);
  target.writeUInt32BE(cookie, 12);
  target.writeUInt32BE(Math.floor(offsetBytes / 2 ** 32), 16);
  target.writeUInt32BE(offsetBytes % 2 ** 32, 20);
  target.writeUInt32BE(lengthBytes, 24);
}

/** Until the transmission phase has begun. Takes exactly the bytes of the handshake from the socket. */
async function negotiate(socket: Socket, exportName: string): Promise<void> {
  const greeting = await readExactly(socket, 18);
  if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC) {
    throw new Error(`no NBD server of our time: ${greeting.toString('hex')}`);
  }
  socket.write(goOption(exportName));
  for (;;) {
    const header = await readExactly(socket, OPTION_REPLY_BYTES);
    if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw new Error(`no answer to an NBD option: ${header.toString('hex')}`);
    const type = header.readUInt32BE(12);
    const length = header.readUInt32BE(16);
    if (length > MAX_OPTION_DATA_BYTES) throw new Error(`an NBD option's answer of ${length} bytes`);
    const data = length === 0 ? Buffer.alloc(0) : await readExactly(socket, length);
    if (type === REP_ACK) return;
    if (type !== REP_INFO) throw new Error(`export "${exportName}" is refused: 0x${type.toString(16)} ${data.toString()}`);
  }
}

/** `socket.read` takes no more than it gives: what follows stays for the next reader. */
function readExactly(socket: Socket, bytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const stop = (): void => void socket.off('readable', look).off('close', lost);
    const look = (): void => {
      const data = socket.read(bytes) as Buffer | null;
      if (data === null) return;
      stop();
      resolve(data);
    };
    const lost = (): void => {
      stop();
      reject(new Error('the server closed the connection'));
    };
    socket.on('readable', look).on('close', lost);
    look();
  });
}

function goOption(exportName: string): Buffer {
  const name = Buffer.from(exportName);
  const message = Buffer.alloc(26 + name.length);
  message.writeUInt32BE(FIXED_NEWSTYLE_NO_ZEROES, 0);
  message.writeBigUInt64BE(OPTION_MAGIC, 4);
  message.writeUInt32BE(OPT_GO, 12);
  message.writeUInt32BE(6 + name.length, 16);
  message.writeUInt32BE(name.length, 20);
  name.copy(message, 24);
  return message;
}
