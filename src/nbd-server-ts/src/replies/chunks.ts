import {
  CHUNK_HEADER_BYTES,
  ChunkType,
  EXTENDED_HEADER_BYTES,
  EXTENDED_REPLY_MAGIC,
  ReplyFlag,
  STRUCTURED_REPLY_MAGIC,
} from '../protocol/constants.js';

// Structured reply chunk, proto.md "Structured reply chunk message":
//   u32 0x668e33ef · u16 flags (DONE 1) · u16 type · u64 cookie · u32 length · data
//     0 NONE           no data, with DONE
//     1 OFFSET_DATA    u64 offset · data
//     5 BLOCK_STATUS   u32 context id · n × (u32 length · u32 flags)
//     32769 ERROR      u32 errno · u16 length of text · text
// Extended reply chunk, branch extension-ext-header:
//   u32 0x6e8a278c · u16 flags · u16 type · u64 cookie · u64 offset of the request · u64 length · data
//     6 BLOCK_STATUS_EXT  u32 context id · u32 n · n × (u64 length · u64 flags)

/** What the headers of all chunks of one answer have in common. */
export interface ChunkSource {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

export const ERROR_DATA_BYTES = 6;
const OFFSET_BYTES = 8;
const WORD = 4_294_967_296;

export function chunkHeaderBytes(extended: boolean): number {
  return extended ? EXTENDED_HEADER_BYTES : CHUNK_HEADER_BYTES;
}

/** Bytes before the data of OFFSET_DATA. */
export function offsetDataBytes(extended: boolean): number {
  return chunkHeaderBytes(extended) + OFFSET_BYTES;
}

export function statusBytes(extended: boolean, extents: number): number {
  return chunkHeaderBytes(extended) + (extended ? 8 + 16 * extents : 4 + 8 * extents);
}

/** Where the chunk's data go. `requestOffset`: of an extended header. */
function encodeHeader(
  view: DataView,
  at: number,
  extended: boolean,
  flags: number,
  type: number,
  { cookieHigh, cookieLow }: ChunkSource,
  requestOffset: number,
  lengthBytes: number,
): number {
  view.setInt32(at, extended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC);
  view.setInt32(at + 4, (flags << 16) | type);
  view.setInt32(at + 8, cookieHigh);
  view.setInt32(at + 12, cookieLow);
  if (!extended) {
    view.setInt32(at + 16, lengthBytes);
    return at + CHUNK_HEADER_BYTES;
  }
  view.setUint32(at + 16, requestOffset / WORD);
  view.setUint32(at + 20, requestOffset % WORD);
  view.setInt32(at + 24, 0);
  view.setInt32(at + 28, lengthBytes);
  return at + EXTENDED_HEADER_BYTES;
}

/** What goes before `dataBytes` of data that belong at `offsetBytes` of the export. */
export function encodeOffsetData(
  view: DataView,
  at: number,
  extended: boolean,
  flags: number,
  source: ChunkSource,
  requestOffset: number,
  offsetBytes: number,
  dataBytes: number,
): void {
  const data = encodeHeader(view, at, extended, flags, ChunkType.offsetData, source, requestOffset, OFFSET_BYTES + dataBytes);
  view.setUint32(data, offsetBytes / WORD);
  view.setUint32(data + 4, offsetBytes % WORD);
}

/** An answer without data and without error, where all answers are chunks. */
export function encodeDone(view: DataView, at: number, source: ChunkSource, requestOffset: number): void {
  encodeHeader(view, at, true, ReplyFlag.done, ChunkType.none, source, requestOffset, 0);
}

/** `extents`: pairs of length and flags. */
export function encodeStatus(
  view: DataView,
  at: number,
  extended: boolean,
  flags: number,
  source: ChunkSource,
  requestOffset: number,
  contextId: number,
  extents: Uint32Array,
  count: number,
): void {
  const type = extended ? ChunkType.blockStatusExtended : ChunkType.blockStatus;
  let data = encodeHeader(
    view,
    at,
    extended,
    flags,
    type,
    source,
    requestOffset,
    statusBytes(extended, count) - chunkHeaderBytes(extended),
  );
  view.setUint32(data, contextId);
  data += 4;
  if (!extended) {
    for (let i = 0; i < 2 * count; i++) view.setUint32(data + 4 * i, extents[i]!);
    return;
  }
  view.setUint32(data, count);
  data += 4;
  for (let i = 0; i < 2 * count; i++) {
    view.setUint32(data + 8 * i, 0);
    view.setUint32(data + 8 * i + 4, extents[i]!);
  }
}

export function encodeErrorChunk(
  view: DataView,
  at: number,
  extended: boolean,
  source: ChunkSource,
  requestOffset: number,
  errno: number,
): void {
  const data = encodeHeader(view, at, extended, ReplyFlag.done, ChunkType.error, source, requestOffset, ERROR_DATA_BYTES);
  view.setInt32(data, errno);
  view.setInt16(data + 4, 0);
}
