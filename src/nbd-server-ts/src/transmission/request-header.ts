import { Command, CommandFlag, EXTENDED_REQUEST_MAGIC, REQUEST_MAGIC } from '../protocol/constants.js';

// Request, proto.md "Request message":
//   u32 0x25609513 · u16 command flags · u16 type · u64 cookie · u64 offset · u32 length · (WRITE: payload)
// With extended headers (branch extension-ext-header):
//   u32 0x21e41c71 · u16 command flags · u16 type · u64 cookie · u64 offset · u64 length · (with the flag PAYLOAD_LEN: payload)

/** One decoded header, filled again and again. The cookie is opaque: two words, given back as they came. */
export class RequestHeader {
  flags = 0;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  /** Exact up to 2^53; what lies above is above any export too. */
  offsetBytes = 0;
  lengthBytes = 0;
  /** What follows the header, whatever the command. */
  payloadBytes = 0;
  /** BLOCK_STATUS: which contexts are asked for. */
  contextMask = 0;
}

/** Reads the 28 bytes at `at`; false: bad magic. */
export function decodeRequestHeader(view: DataView, at: number, into: RequestHeader): boolean {
  if (view.getUint32(at) !== REQUEST_MAGIC) return false;
  into.flags = view.getUint16(at + 4);
  into.type = view.getUint16(at + 6);
  into.cookieHigh = view.getInt32(at + 8);
  into.cookieLow = view.getInt32(at + 12);
  into.offsetBytes = view.getUint32(at + 16) * 4_294_967_296 + view.getUint32(at + 20);
  into.lengthBytes = view.getUint32(at + 24);
  into.payloadBytes = into.type === Command.write ? into.lengthBytes : 0;
  return true;
}

/** The same for the 32 bytes of an extended header. */
export function decodeExtendedRequestHeader(view: DataView, at: number, into: RequestHeader): boolean {
  if (view.getUint32(at) !== EXTENDED_REQUEST_MAGIC) return false;
  into.flags = view.getUint16(at + 4);
  into.type = view.getUint16(at + 6);
  into.cookieHigh = view.getInt32(at + 8);
  into.cookieLow = view.getInt32(at + 12);
  into.offsetBytes = view.getUint32(at + 16) * 4_294_967_296 + view.getUint32(at + 20);
  into.lengthBytes = view.getUint32(at + 24) * 4_294_967_296 + view.getUint32(at + 28);
  into.payloadBytes = (into.flags & CommandFlag.payloadLength) === 0 ? 0 : into.lengthBytes;
  return true;
}
