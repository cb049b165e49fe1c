import { CHUNK_HEADER_BYTES, ChunkType, STRUCTURED_REPLY_MAGIC } from '../protocol/constants.js';

// Structured reply chunk, proto.md "Structured reply chunk message":
//   u32 0x668e33ef · u16 flags (DONE 1) · u16 type · u64 cookie · u32 length · data
//     0 NONE           no data, with DONE
//     1 OFFSET_DATA    u64 offset · data
//     5 BLOCK_STATUS   u32 context id · n × (u32 length · u32 flags)
//     32769 ERROR      u32 errno · u16 length of text · text

export const OFFSET_DATA_BYTES = CHUNK_HEADER_BYTES + 8;
export const ERROR_CHUNK_BYTES = CHUNK_HEADER_BYTES + 6;

export function blockStatusBytes(extents: number): number {
  return CHUNK_HEADER_BYTES + 4 + 8 * extents;
}

function encodeHeader(
  view: DataView,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  lengthBytes: number,
): void {
  view.setInt32(at, STRUCTURED_REPLY_MAGIC);
  view.setInt32(at + 4, (flags << 16) | type);
  view.setInt32(at + 8, cookieHigh);
  view.setInt32(at + 12, cookieLow);
  view.setInt32(at + 16, lengthBytes);
}

/** What goes before the data; returns OFFSET_DATA_BYTES. */
export function encodeOffsetData(
  view: DataView,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  offsetBytes: number,
  dataBytes: number,
): number {
  encodeHeader(view, at, flags, ChunkType.offsetData, cookieHigh, cookieLow, 8 + dataBytes);
  view.setUint32(at + 20, offsetBytes / 4_294_967_296);
  view.setUint32(at + 24, offsetBytes % 4_294_967_296);
  return OFFSET_DATA_BYTES;
}

/** `extents`: pairs of length and flags. */
export function encodeBlockStatus(
  view: DataView,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  contextId: number,
  extents: Uint32Array,
  count: number,
): number {
  encodeHeader(view, at, flags, ChunkType.blockStatus, cookieHigh, cookieLow, 4 + 8 * count);
  view.setUint32(at + 20, contextId);
  for (let i = 0; i < 2 * count; i++) view.setUint32(at + 24 + 4 * i, extents[i]!);
  return blockStatusBytes(count);
}

export function encodeErrorChunk(view: DataView, at: number, flags: number, cookieHigh: number, cookieLow: number, errno: number): number {
  encodeHeader(view, at, flags, ChunkType.error, cookieHigh, cookieLow, 6);
  view.setInt32(at + 20, errno);
  view.setInt16(at + 24, 0);
  return ERROR_CHUNK_BYTES;
}
