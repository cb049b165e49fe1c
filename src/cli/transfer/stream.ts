import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { BLOCK_BYTES } from '../../base/size.js';
import { GatepathError } from '../../base/errors.js';
import { NbdConnection, payloadOf, requestBuffer } from '../../nbd-client/connection.js';
import { CHUNK_BYTES, MAX_CHUNKS_IN_FLIGHT } from './limits.js';

export interface NbdExport {
  readonly socketPath: string;
  readonly exportName: string;
}

export interface StreamOptions {
  readonly signal: AbortSignal;
  /** Bytes since the beginning. */
  readonly onBytes: (bytes: number) => void;
}

/** Requests to one export, so many at a time as are good for it. After the first failure everything fails with it. */
class Requests {
  readonly #waiting = new Map<number, { readonly done: (data: Buffer | null) => void; readonly fail: (error: Error) => void }>();
  #connection!: NbdConnection;
  #last = 0;
  failure: Error | null = null;

  static async open({ socketPath, exportName }: NbdExport, signal: AbortSignal): Promise<Requests> {
    const requests = new Requests();
    const owner = {
      answered: (cookie: number, error: number, data: Buffer | null) => requests.#answered(cookie, error, data),
      lost: (why: string) => requests.fail(failed(why)),
    };
    try {
      requests.#connection = await NbdConnection.open(socketPath, exportName, owner, CHUNK_BYTES);
    } catch (cause) {
      throw failed((cause as Error).message);
    }
    if (signal.aborted) requests.fail(signal.reason as Error);
    else signal.addEventListener('abort', () => requests.fail(signal.reason as Error), { once: true });
    return requests;
  }

  get inFlight(): number {
    return this.#waiting.size;
  }

  write(request: Buffer, offsetBytes: number): Promise<Buffer | null> {
    return this.#ask(cookie => this.#connection.write(request, cookie, offsetBytes));
  }

  /** The data is valid until the promise's first reaction has run. */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer | null> {
    return this.#ask(cookie => this.#connection.read(requestBuffer(), cookie, offsetBytes, lengthBytes));
  }

  flush(): Promise<Buffer | null> {
    return this.#ask(cookie => this.#connection.flush(requestBuffer(), cookie));
  }

  close(): void {
    this.#connection.close();
  }

  fail(error: Error): void {
    this.failure ??= error;
    for (const { fail } of this.#waiting.values()) fail(this.failure);
    this.#waiting.clear();
  }

  #ask(send: (cookie: number) => void): Promise<Buffer | null> {
    if (this.failure !== null) return Promise.reject(this.failure);
    return new Promise((done, fail) => {
      const cookie = (this.#last = (this.#last + 1) >>> 0);
      this.#waiting.set(cookie, { done, fail });
      send(cookie);
    });
  }

  #answered(cookie: number, error: number, data: Buffer | null): void {
    const one = this.#waiting.get(cookie);
    this.#waiting.delete(cookie);
    // Its place in the connection is used again by the next answer.
    if (error === 0) one?.done(data === null ? null : Buffer.from(data));
    else one?.fail(failed(ERRORS[error] ?? `the vdisk answers with error ${error}`));
  }
}

/** NBD's numbers, which are Linux's. */
const ERRORS: Readonly<Record<number, string>> = {
  1: 'the vdisk may not be written',
  5: 'the vdisk has an input/output error',
  28: 'there is no space left',
  108: 'the datapath stops',
};
const failed = (why: string): GatepathError =>
  new GatepathError('fatal', 'ERR_COPY', `not copied: ${why}`, 'nothing of it is left; see to the cause, and try again');

/** What is answered is durable when this resolves, whoever has written it. */
export async function flushExport(to: NbdExport, signal: AbortSignal): Promise<void> {
  const requests = await Requests.open(to, signal);
  try {
    await requests.flush();
  } finally {
    requests.close();
  }
}

/** Until the stream ends; gives how many bytes came. More than `limitBytes`, or another number than `wantedBytes`, is refused. Blocks of zeroes are not written: the vdisk is new. */
export async function writeStream(
  input: Readable,
  to: NbdExport,
  { wantedBytes, limitBytes }: { readonly wantedBytes: number | null; readonly limitBytes: number },
  { signal, onBytes }: StreamOptions,
): Promise<number> {
  const requests = await Requests.open(to, signal);
  const writer = new SparseWriter(requests);
  let bytes = 0;
  const stop = (): void => void input.destroy();
  signal.addEventListener('abort', stop);
  try {
    for await (const chunk of input as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      bytes += chunk.length;
      if (bytes > (wantedBytes ?? limitBytes)) throw longer(wantedBytes ?? limitBytes);
      await writer.take(chunk);
      onBytes(bytes);
    }
    signal.throwIfAborted();
    if (bytes < (wantedBytes ?? 1)) throw shorter(bytes, wantedBytes);
    await writer.end();
    await requests.flush();
    return bytes;
  } catch (error) {
    // A stream that was stopped says only that.
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
    requests.close();
  }
}

const longer = (bytes: number): GatepathError =>
  new GatepathError('invalid', 'ERR_SOURCE', `standard input has more than ${bytes} bytes`, 'see to --size, and to what sends it');
const shorter = (bytes: number, wanted: number | null): GatepathError =>
  wanted === null
    ? new GatepathError('invalid', 'ERR_SOURCE', 'standard input is empty', 'see to what sends it')
    : new GatepathError(
        'invalid',
        'ERR_SOURCE_TRUNCATED',
        `standard input ended after ${bytes} of ${wanted} bytes`,
        'see to what sends it',
      );

const ZEROES = Buffer.alloc(BLOCK_BYTES);

/** Gathers what comes in chunks, and writes of each the runs of blocks that are not all zeroes. */
class SparseWriter {
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #filled = 0;
  #offset = 0;
  readonly #writes = new Set<Promise<unknown>>();

  constructor(private readonly requests: Requests) {}

  async take(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const copied = bytes.copy(this.#chunk, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled === CHUNK_BYTES) await this.#write();
    }
  }

  /** The last block is filled up with zeroes. */
  async end(): Promise<void> {
    const whole = Math.ceil(this.#filled / BLOCK_BYTES) * BLOCK_BYTES;
    this.#chunk.fill(0, this.#filled, whole);
    this.#filled = whole;
    await this.#write();
    await Promise.all(this.#writes);
  }

  async #write(): Promise<void> {
    for (let from = 0; from < this.#filled;) {
      if (this.#isZero(from)) {
        from += BLOCK_BYTES;
        continue;
      }
      let to = from + BLOCK_BYTES;
      while (to < this.#filled && !this.#isZero(to)) to += BLOCK_BYTES;
      await this.#send(from, to);
      from = to;
    }
    this.#offset += this.#filled;
    this.#filled = 0;
  }

  async #send(from: number, to: number): Promise<void> {
    while (this.requests.inFlight >= MAX_CHUNKS_IN_FLIGHT) await Promise.race(this.#writes);
    const request = requestBuffer(to - from);
    this.#chunk.copy(payloadOf(request), 0, from, to);
    const write = this.requests.write(request, this.#offset + from);
    this.#writes.add(write);
    write.then(
      () => this.#writes.delete(write),
      () => undefined, // whoever sends next, or ends, hears of it
    );
    if (this.requests.failure !== null) throw this.requests.failure;
  }

  #isZero(at: number): boolean {
    return this.#chunk.subarray(at, at + BLOCK_BYTES).equals(ZEROES);
  }
}

/** The whole export, in order, as fast as the output takes it. */
export async function readStream(from: NbdExport, sizeBytes: number, output: Writable, { signal, onBytes }: StreamOptions): Promise<void> {
  const requests = await Requests.open(from, signal);
  const broken = new Promise<never>((_, reject) => {
    output.once('error', cause =>
      reject(new GatepathError('fatal', 'ERR_COPY', `standard output takes no more: ${cause.message}`, 'see to what reads it', { cause })),
    );
  });
  broken.catch(() => undefined);
  const reads: Promise<Buffer | null>[] = [];
  let asked = 0;
  try {
    for (let told = 0; told < sizeBytes;) {
      while (asked < sizeBytes && reads.length < MAX_CHUNKS_IN_FLIGHT) {
        const length = Math.min(CHUNK_BYTES, sizeBytes - asked);
        const read = requests.read(asked, length);
        read.catch(() => undefined); // heard of when its turn has come
        reads.push(read);
        asked += length;
      }
      const data = (await Promise.race([reads.shift()!, broken]))!;
      if (!output.write(data)) await Promise.race([once(output, 'drain', { signal }), broken]);
      onBytes((told += data.length));
    }
    await Promise.race([new Promise<void>(resolve => void output.write('', () => resolve())), broken]);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    requests.close();
  }
}
