import { connect, type Socket } from 'node:net';

/** The server went away: what was asked for may or may not have been done. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

export type NbdAddress = { readonly socket: string } | { readonly host: string; readonly port: number };

/** A socket read in exact amounts, through a callback: one reader at a time. */
export class ByteStream {
  readonly socket: Socket;
  #chunks: Buffer[] = [];
  #availableBytes = 0;
  #wantedBytes = 0;
  #take: ((bytes: Buffer) => void) | undefined;
  #taking = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#availableBytes += chunk.length;
      this.#serve();
    });
  }

  static open(address: NbdAddress): Promise<ByteStream> {
    return new Promise((resolve, reject) => {
      const socket = 'socket' in address ? connect(address.socket) : connect(address.port, address.host);
      socket.setNoDelay(true);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new ByteStream(socket));
      });
    });
  }

  /** Calls `take` with exactly `length` bytes when they are there. `take` may ask for more at once. */
  read(length: number, take: (bytes: Buffer) => void): void {
    this.#wantedBytes = length;
    this.#take = take;
    if (!this.#taking) this.#serve();
  }

  readExactly(length: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const lost = () => reject(new ConnectionLost('the server closed the connection'));
      this.socket.once('close', lost);
      this.read(length, bytes => {
        this.socket.off('close', lost);
        resolve(bytes);
      });
    });
  }

  #serve(): void {
    this.#taking = true;
    while (this.#take !== undefined && this.#availableBytes >= this.#wantedBytes) {
      const take = this.#take;
      this.#take = undefined;
      take(this.#cut(this.#wantedBytes));
    }
    this.#taking = false;
  }

  #cut(length: number): Buffer {
    const first = this.#chunks[0];
    this.#availableBytes -= length;
    if (first !== undefined && first.length >= length) {
      if (first.length === length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(length);
      return first.subarray(0, length);
    }
    const whole = Buffer.concat(this.#chunks);
    const rest = whole.subarray(length);
    this.#chunks = rest.length === 0 ? [] : [rest];
    return whole.subarray(0, length);
  }
}
