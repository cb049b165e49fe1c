import { Packr } from 'msgpackr';
import * as z from 'zod';
import { createHeader, encodeHeader, resetHeader, type FrameType } from './frame.js';
import { HEADER_BYTES, MAX_CONTROL_BYTES } from './limits.js';

/** Payloads of control frames: msgpack maps, validated by a schema on arrival. Never on the way of an I/O. */

export const packr = new Packr({ useRecords: false, moreTypes: false });

/** A control or metadata payload that is not what its type says. Closes the connection. */
export class WireFormatError extends Error {
  readonly code = 'ERR_WIRE_FORMAT';
  constructor(what: string, options?: ErrorOptions) {
    super(`${what}: the peer sent a message this version does not understand; check that both ends run compatible versions`, options);
    this.name = 'WireFormatError';
  }
}

/** A whole frame: header and payload. `tag` is echoed by the reply. */
export function encodeControl(type: FrameType, message: unknown, tag = 0, maxBytes = MAX_CONTROL_BYTES): Uint8Array {
  const payload = packr.pack(message);
  if (payload.length > maxBytes)
    throw new RangeError(`frame type ${type}: ${payload.length} bytes are more than the ${maxBytes} it may have`);
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  const header = resetHeader(createHeader(), type);
  header.payloadBytes = payload.length;
  header.tag = tag;
  encodeHeader(new DataView(frame.buffer), 0, header);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Decodes and validates; throws {@link WireFormatError}. The bytes may lie in shared memory: they are copied. */
export function decodeControl<T>(schema: z.ZodType<T>, payload: Uint8Array): T {
  let value: unknown;
  try {
    value = packr.unpack(payload.slice());
  } catch (cause) {
    throw new WireFormatError('payload is no msgpack', { cause });
  }
  const result = schema.safeParse(value);
  if (!result.success) throw new WireFormatError(z.prettifyError(result.error), { cause: result.error });
  return result.data;
}
