import { MAX_STRING_BYTES } from '../limits.js';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A string of the protocol: valid UTF-8, no NUL, at most 4096 bytes (proto.md, "Values"). Null where it is not one. */
export function decodeString(bytes: Uint8Array): string | null {
  if (bytes.length > MAX_STRING_BYTES || bytes.includes(0)) return null;
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** The inverse; null where the text is not a string of the protocol (too long, NUL, a lone surrogate). */
export function encodeString(text: string): Uint8Array | null {
  const bytes = encoder.encode(text);
  return decodeString(bytes) === text ? bytes : null;
}

/** For texts of our own, known to be good. */
export function textBytes(text: string): Uint8Array {
  return encoder.encode(text);
}
