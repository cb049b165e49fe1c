import { closeSync } from 'node:fs';
import * as z from 'zod';
import { DescriptorChannel } from 'uring-engine';
import { GatepathError } from '../../base/errors.js';
import { MAX_HANDOVER_BYTES } from '../limits.js';
import { refused, type Message } from './messages.js';

const LENGTH_BYTES = 4;

/** Messages between the two processes: u32 length (big-endian), JSON; a descriptor comes with its message. */
export class HandoverChannel {
  #bytes = Buffer.alloc(0);
  readonly #descriptors: number[] = [];

  constructor(private readonly channel: DescriptorChannel) {}

  static connect(path: string): HandoverChannel {
    return new HandoverChannel(DescriptorChannel.connect(path));
  }

  async send(message: Message, timeoutMs: number, fd?: number): Promise<void> {
    const body = Buffer.from(JSON.stringify(message));
    if (body.length > MAX_HANDOVER_BYTES) throw broken(`a message of ${body.length} bytes is too long`);
    const whole = Buffer.alloc(LENGTH_BYTES + body.length);
    whole.writeUInt32BE(body.length);
    body.copy(whole, LENGTH_BYTES);
    await this.channel.send(whole, fd === undefined ? [] : [fd], timeoutMs);
  }

  /** The next message, which has to be of the kind; rejects with what the other process says where it refuses. */
  async receive<T>(expected: z.ZodType<T>, timeoutMs: number): Promise<T> {
    const text = await this.#message(timeoutMs);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw broken('the other process does not speak the protocol of a hand-over', cause);
    }
    const refusal = refused.safeParse(value);
    if (refusal.success) throw new GatepathError('invalid', refusal.data.code, refusal.data.message, refusal.data.action);
    const parsed = expected.safeParse(value);
    if (parsed.success) return parsed.data;
    throw broken(`the other process says something else than was expected: ${z.prettifyError(parsed.error)}`);
  }

  /** The descriptor that came with the message received last; the caller's own. */
  takeDescriptor(): number {
    const fd = this.#descriptors.shift();
    if (fd === undefined) throw broken('a message came without its descriptor');
    return fd;
  }

  /** Resolves when the other process has closed its end. */
  async closed(timeoutMs: number): Promise<void> {
    while ((await this.channel.receive(timeoutMs)) !== null);
  }

  close(): void {
    this.channel.close();
    for (const fd of this.#descriptors.splice(0)) closeSync(fd);
  }

  async #message(timeoutMs: number): Promise<string> {
    for (;;) {
      const length = this.#bytes.length >= LENGTH_BYTES ? this.#bytes.readUInt32BE() : 0;
      if (length > MAX_HANDOVER_BYTES) throw broken(`the other process announces a message of ${length} bytes`);
      if (this.#bytes.length >= LENGTH_BYTES && this.#bytes.length - LENGTH_BYTES >= length) {
        const text = this.#bytes.toString('utf8', LENGTH_BYTES, LENGTH_BYTES + length);
        this.#bytes = this.#bytes.subarray(LENGTH_BYTES + length);
        return text;
      }
      const received = await this.channel.receive(timeoutMs);
      if (received === null) throw broken('the other process has gone');
      this.#bytes = Buffer.concat([this.#bytes, received.bytes]);
      this.#descriptors.push(...received.descriptors);
    }
  }
}

function broken(message: string, cause?: unknown): GatepathError {
  return new GatepathError(
    'retryable',
    'ERR_HANDOVER',
    message,
    'nothing has changed: the datapath that served serves on; see the logs of both',
    {
      cause,
    },
  );
}
