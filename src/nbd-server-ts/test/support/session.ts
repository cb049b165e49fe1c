import assert from 'node:assert/strict';
import { ascii, u16, u32, unhex } from './hex.js';
import type { OptionAnswer, RawClient, RawRequest } from './raw-client.js';
import { NotOffered } from './not-offered.js';

export const MIB = 1 << 20;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structured: 8,
  listContexts: 9,
  setContexts: 10,
  extended: 11,
} as const;
export const Rep = {
  ack: 1,
  server: 2,
  info: 3,
  context: 4,
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
  extendedRequired: 0x8000000a,
} as const;
export const Cmd = { read: 0, write: 1, disc: 2, flush: 3, trim: 4, cache: 5, zero: 6, status: 7, resize: 8 } as const;
export const Flag = { fua: 1, noHole: 2, df: 4, one: 8, fast: 16, payload: 32 } as const;
export const Errno = { perm: 1, io: 5, invalid: 22, noSpace: 28, overflow: 75, notSupported: 95, shutdown: 108 } as const;
/** Transmission flags. */
export const Has = {
  flags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  trim: 32,
  zero: 64,
  df: 128,
  multiConn: 256,
  resize: 512,
  cache: 1024,
  fastZero: 2048,
  statusPayload: 4096,
} as const;

export function nameData(name: string): string {
  return u32(Buffer.byteLength(name)) + ascii(name);
}

export function infoData(name: string, items: readonly number[] = []): string {
  return nameData(name) + u16(items.length) + items.map(u16).join('');
}

export function contextsData(name: string, queries: readonly string[]): string {
  return nameData(name) + u32(queries.length) + queries.map(nameData).join('');
}

/** The last answer's type. */
export function verdictOf(answers: readonly OptionAnswer[]): number {
  return answers.at(-1)!.type;
}

export function refusal(type: number): string {
  return `0x${type.toString(16)}`;
}

export interface SessionOptions {
  readonly structured?: boolean;
  readonly extended?: boolean;
  /** Contexts to select; what is not there is an error. */
  readonly contexts?: readonly string[];
  readonly exportName?: string;
}

/** The answer to one request, all its chunks together. */
export interface Answer {
  readonly errno: number;
  readonly data: Buffer;
  /** By context id: pairs of length and flags. */
  readonly status: ReadonlyMap<number, readonly [number, number][]>;
  readonly kinds: readonly ('simple' | 'chunk')[];
  readonly types: readonly number[];
  readonly offsets: readonly (bigint | undefined)[];
}

/** Negotiates and enters the transmission phase. */
export async function openSession(client: RawClient, name: string, options: SessionOptions): Promise<Session> {
  const exportName = options.exportName ?? name;
  const structured = options.structured ?? options.contexts !== undefined;
  if (options.extended === true) await accepted(client, Option.extended, '', 'extended headers');
  else if (structured) await accepted(client, Option.structured, '', 'structured replies');
  const contexts = new Map<string, number>();
  if (options.contexts !== undefined) {
    const answers = await client.option(Option.setContexts, contextsData(exportName, options.contexts));
    if (verdictOf(answers) !== Rep.ack) throw new NotOffered(`no metadata contexts (${refusal(verdictOf(answers))})`);
    for (const { type, data } of answers)
      if (type === Rep.context) contexts.set(Buffer.from(data.slice(8), 'hex').toString(), parseInt(data.slice(0, 8), 16));
    for (const context of options.contexts) if (!contexts.has(context)) throw new NotOffered(`no context ${context}`);
  }
  const answers = await client.option(Option.go, infoData(exportName, [3]));
  assert.equal(refusal(verdictOf(answers)), refusal(Rep.ack), 'GO is refused');
  const info = unhex(answers.find(({ type, data }) => type === Rep.info && data.startsWith('0000'))!.data);
  const view = new DataView(info.buffer, info.byteOffset);
  client.extended = options.extended ?? false;
  return new Session(client, exportName, Number(view.getBigUint64(2)), view.getUint16(10), contexts);
}

async function accepted(client: RawClient, option: number, data: string, what: string): Promise<void> {
  const verdict = verdictOf(await client.option(option, data));
  if (verdict === Rep.unsupported) throw new NotOffered(`no ${what}`);
  assert.equal(refusal(verdict), refusal(Rep.ack), `${what} refused`);
}

/** One connection in the transmission phase. */
export class Session {
  readonly #lengths = new Map<bigint, { length: number; read: boolean }>();
  #nextCookie = 0x7fff_ffff_0000_0001n;

  constructor(
    readonly client: RawClient,
    readonly exportName: string,
    readonly sizeBytes: number,
    readonly flags: number,
    readonly contexts: ReadonlyMap<string, number>,
  ) {}

  /** Not offered without this transmission flag. */
  need(flag: number, what: string): void {
    if ((this.flags & flag) === 0) throw new NotOffered(`no ${what}`);
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  send(request: RawRequest): bigint {
    const cookie = request.cookie ?? this.#nextCookie++;
    const length = request.length ?? request.payload?.length ?? 0;
    this.#lengths.set(cookie, { length: Number(length), read: request.type === Cmd.read });
    this.client.request({ ...request, cookie, length });
    return cookie;
  }

  /** The next whole answer of a connection with one request under way. */
  async perform(request: RawRequest): Promise<Answer> {
    const cookie = this.send(request);
    const [answer] = await this.answers(1);
    assert.equal(answer!.cookie, cookie, 'the answer has the cookie of its request');
    return answer!;
  }

  async errno(request: RawRequest): Promise<number> {
    return (await this.perform(request)).errno;
  }

  /** `count` whole answers, by the order in which they were completed. */
  async answers(count: number): Promise<(Answer & { readonly cookie: bigint })[]> {
    const whole: (Answer & { readonly cookie: bigint })[] = [];
    const open = new Map<bigint, Gathering>();
    while (whole.length < count) {
      const reply = await this.client.reply();
      const asked = this.#lengths.get(reply.cookie);
      assert.ok(asked !== undefined, `an answer with a cookie that nobody sent: ${reply.cookie}`);
      const gathering = open.get(reply.cookie) ?? new Gathering(asked.length, this.client.extended);
      open.set(reply.cookie, gathering);
      if (reply.kind === 'simple') {
        gathering.simple(reply.errno, asked.read && reply.errno === 0 ? await this.client.read(asked.length) : Buffer.alloc(0));
      } else gathering.chunk(reply);
      if (reply.kind === 'simple' || reply.done) {
        this.#lengths.delete(reply.cookie);
        open.delete(reply.cookie);
        whole.push({ ...gathering.answer(), cookie: reply.cookie });
      }
    }
    return whole;
  }

  /** A READ of the first byte: the stream is in step. */
  async inStep(): Promise<void> {
    assert.equal(await this.errno({ type: Cmd.read, length: 512 }), 0, 'a READ after it');
  }
}

class Gathering {
  readonly #status = new Map<number, [number, number][]>();
  readonly #kinds: ('simple' | 'chunk')[] = [];
  readonly #types: number[] = [];
  readonly #offsets: (bigint | undefined)[] = [];
  #data: Buffer = Buffer.alloc(0);
  #errno = 0;
  #base: bigint | null = null;
  readonly #pieces: { readonly offset: bigint; readonly data: Uint8Array }[] = [];

  constructor(
    private readonly lengthBytes: number,
    private readonly extended: boolean,
  ) {}

  simple(errno: number, data: Buffer): void {
    this.#kinds.push('simple');
    this.#errno = errno;
    this.#data = data;
  }

  chunk({ type, data, offset }: { readonly type: number; readonly data: Uint8Array; readonly offset?: bigint }): void {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#kinds.push('chunk');
    this.#types.push(type);
    this.#offsets.push(offset);
    if (type >= 0x8000) this.#errno = view.getUint32(0);
    else if (type === 1) this.#piece(view.getBigUint64(0), data.subarray(8));
    else if (type === 2) this.#piece(view.getBigUint64(0), new Uint8Array(view.getUint32(8)));
    else if (type === 5 || type === 6) this.#extents(view, type);
  }

  #piece(offset: bigint, data: Uint8Array): void {
    this.#pieces.push({ offset, data });
    if (this.#base === null || offset < this.#base) this.#base = offset;
  }

  #extents(view: DataView, type: number): void {
    assert.equal(type, this.extended ? 6 : 5, 'the kind of status chunk');
    const id = view.getUint32(0);
    assert.ok(!this.#status.has(id), `two status chunks for one context (${id})`);
    const extents: [number, number][] = [];
    if (type === 5) {
      assert.equal((view.byteLength - 4) % 8, 0, 'the length of a status chunk');
      for (let at = 4; at < view.byteLength; at += 8) extents.push([view.getUint32(at), view.getUint32(at + 4)]);
    } else {
      assert.equal(view.byteLength, 8 + 16 * view.getUint32(4), 'the descriptor count of a status chunk');
      for (let at = 8; at < view.byteLength; at += 16) extents.push([Number(view.getBigUint64(at)), Number(view.getBigUint64(at + 8))]);
    }
    assert.ok(extents.length > 0 && extents.every(([length]) => length > 0), 'extents with a length');
    this.#status.set(id, extents);
  }

  answer(): Answer {
    if (this.#pieces.length > 0) {
      this.#data = Buffer.alloc(this.lengthBytes);
      let total = 0;
      for (const { offset, data } of this.#pieces) {
        this.#data.set(data, Number(offset - this.#base!));
        total += data.length;
      }
      if (this.#errno === 0) assert.equal(total, this.lengthBytes, 'the chunks of a READ make up its length');
    }
    return {
      errno: this.#errno,
      data: this.#data,
      status: this.#status,
      kinds: this.#kinds,
      types: this.#types,
      offsets: this.#offsets,
    };
  }
}
