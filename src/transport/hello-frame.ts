import { createHeader, encodeHeader, FrameType, resetHeader } from '../wire/frame.js';
import { HEADER_BYTES } from '../wire/limits.js';

/** A HELLO as it was received, for who reads it again. */
export function helloFrame(payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = resetHeader(createHeader(), FrameType.hello);
  header.payloadBytes = payload.length;
  const frame = new Uint8Array(HEADER_BYTES);
  encodeHeader(new DataView(frame.buffer), 0, header);
  return concat(frame, payload);
}

export function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
