export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Hex digits, with spaces where they help the reader. */
export function unhex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
}

export function ascii(text: string): string {
  return hex(Buffer.from(text));
}

/** Big-endian, as hex. */
export function u16(value: number): string {
  return value.toString(16).padStart(4, '0');
}

export function u32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}

export function u64(value: number | bigint): string {
  return BigInt(value).toString(16).padStart(16, '0');
}
