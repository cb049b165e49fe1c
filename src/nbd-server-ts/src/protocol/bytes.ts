/** Helpers for messages of the handshake. The transmission phase does not use them: it works on the arena's DataView. */

/** Writes big-endian integers and bytes one after another into an array of its final length. */
export class ByteWriter {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(lengthBytes: number) {
    this.bytes = new Uint8Array(lengthBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  u16(value: number): this {
    this.#view.setUint16(this.#at, value);
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
    return this;
  }

  /** An integer up to 2^53 − 1. */
  u64(value: number): this {
    return this.u32(Math.floor(value / 2 ** 32)).u32((value % 2 ** 32) >>> 0);
  }

  raw(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }
}

/** Reads what {@link ByteWriter} writes. A read past the end sets `failed` and gives 0 or an empty array: check once, at the end. */
export class ByteReader {
  failed = false;
  readonly #view: DataView;
  #at = 0;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(): number {
    return this.#advance(2) ? this.#view.getUint16(this.#at - 2) : 0;
  }

  u32(): number {
    return this.#advance(4) ? this.#view.getUint32(this.#at - 4) : 0;
  }

  raw(lengthBytes: number): Uint8Array {
    return this.#advance(lengthBytes) ? this.bytes.subarray(this.#at - lengthBytes, this.#at) : this.bytes.subarray(0, 0);
  }

  /** Everything was read and nothing was missing. */
  get exact(): boolean {
    return !this.failed && this.#at === this.bytes.length;
  }

  #advance(lengthBytes: number): boolean {
    if (this.failed || lengthBytes > this.bytes.length - this.#at) {
      this.failed = true;
      return false;
    }
    this.#at += lengthBytes;
    return true;
  }
}
