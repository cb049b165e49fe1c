import { HEADER_BYTES, MAX_CONTROL_BYTES, MAX_META_BYTES, MAX_REPLICA_BYTES, UUID_BYTES } from './limits.js';
import { MAX_IO_BYTES } from './path.js';

/**
 * Every message is a frame: a header of 64 bytes, then `payloadBytes` of payload. All integers are little-endian; those of
 * 64 bits are below 2^53. Fields that a type does not use are 0.
 *
 * ```
 *  0 u32 magic "GPW1"       4 u8 type   5 u8 op   6 u8 status   7 u8 flags
 *  8 u32 payloadBytes      12 u32 tag          (chosen by the requester, echoed)
 * 16 u64 clientSeq         24 u64 lowWater
 * 32 u64 term              40 u64 offsetBytes
 * 48 u32 lengthBytes       52 u32 session      (number of the session on this connection)
 * 56 u64 reserved, 0
 * ```
 */
export const FRAME_MAGIC = 0x3157_5047;

export const FrameType = {
  hello: 1,
  helloReply: 2,
  error: 3,
  sessionOpen: 4,
  sessionOpened: 5,
  sessionRefused: 6,
  sessionEnded: 7,
  sessionClose: 8,
  sessionClosed: 9,
  sessionHandover: 10,
  ioRequest: 16,
  ioReply: 17,
  heartbeat: 18,
  heartbeatReply: 19,
  metaRequest: 32,
  metaReply: 33,
  metaEvent: 34,
  peerOpen: 48,
  peerOpened: 49,
  peerVdisk: 50,
  replica: 51,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Bits of `flags`. fua: of an IO_REQUEST, see PathRequest. Bits that a receiver does not know are nothing to it. */
export const FrameFlag = { fua: 1 } as const;

/** Decoded header; one object is reused for all frames of a connection. */
export interface FrameHeader {
  type: number;
  op: number;
  status: number;
  flags: number;
  payloadBytes: number;
  tag: number;
  clientSeq: number;
  lowWater: number;
  term: number;
  offsetBytes: number;
  lengthBytes: number;
  session: number;
}

/** Why bytes are not a frame. Each closes the connection: there is no way to find the next frame. */
export type FrameFault = 'ERR_FRAME_MAGIC' | 'ERR_FRAME_TYPE' | 'ERR_FRAME_LENGTH' | 'ERR_FRAME_NUMBER' | 'ERR_FRAME_RESERVED';

/** Most payload a frame of the type may have; -1 for an unknown type. */
const maxPayload = new Int32Array(256).fill(-1);
for (const type of Object.values(FrameType)) {
  maxPayload[type] = MAX_CONTROL_BYTES;
}
maxPayload[FrameType.metaRequest] = maxPayload[FrameType.metaReply] = maxPayload[FrameType.metaEvent] = MAX_META_BYTES;
maxPayload[FrameType.ioRequest] = maxPayload[FrameType.ioReply] = MAX_IO_BYTES;
maxPayload[FrameType.heartbeat] = maxPayload[FrameType.heartbeatReply] = 0;
maxPayload[FrameType.peerVdisk] = UUID_BYTES;
maxPayload[FrameType.replica] = MAX_REPLICA_BYTES;

const HIGH = 2 ** 32;
/** The high word of a number below 2^53. */
const HIGH_LIMIT = 2 ** 21;

export function createHeader(): FrameHeader {
  return {
    type: 0,
    op: 0,
    status: 0,
    flags: 0,
    payloadBytes: 0,
    tag: 0,
    clientSeq: 0,
    lowWater: 0,
    term: 0,
    offsetBytes: 0,
    lengthBytes: 0,
    session: 0,
  };
}

/** Sets all fields to those of an empty frame of the type. */
export function resetHeader(header: FrameHeader, type: FrameType): FrameHeader {
  header.type = type;
  header.op = header.status = header.flags = header.payloadBytes = header.tag = header.lengthBytes = header.session = 0;
  header.clientSeq = header.lowWater = header.term = header.offsetBytes = 0;
  return header;
}

/** Writes the header at byte `at`; HEADER_BYTES have to be there. */
export function encodeHeader(view: DataView, at: number, header: FrameHeader): void {
  view.setUint32(at, FRAME_MAGIC, true);
  view.setUint8(at + 4, header.type);
  view.setUint8(at + 5, header.op);
  view.setUint8(at + 6, header.status);
  view.setUint8(at + 7, header.flags);
  view.setUint32(at + 8, header.payloadBytes, true);
  view.setUint32(at + 12, header.tag, true);
  setNumber(view, at + 16, header.clientSeq);
  setNumber(view, at + 24, header.lowWater);
  setNumber(view, at + 32, header.term);
  setNumber(view, at + 40, header.offsetBytes);
  view.setUint32(at + 48, header.lengthBytes, true);
  view.setUint32(at + 52, header.session, true);
  view.setUint32(at + 56, 0, true);
  view.setUint32(at + 60, 0, true);
}

/** Reads and validates the header at byte `at`. With a fault, `header` is undefined content. */
export function decodeHeader(view: DataView, at: number, header: FrameHeader): FrameFault | null {
  if (view.getUint32(at, true) !== FRAME_MAGIC) return 'ERR_FRAME_MAGIC';
  header.type = view.getUint8(at + 4);
  header.op = view.getUint8(at + 5);
  header.status = view.getUint8(at + 6);
  header.flags = view.getUint8(at + 7);
  header.payloadBytes = view.getUint32(at + 8, true);
  const most = maxPayload[header.type]!;
  if (most < 0) return 'ERR_FRAME_TYPE';
  if (header.payloadBytes > most) return 'ERR_FRAME_LENGTH';
  header.tag = view.getUint32(at + 12, true);
  header.clientSeq = getNumber(view, at + 16);
  header.lowWater = getNumber(view, at + 24);
  header.term = getNumber(view, at + 32);
  header.offsetBytes = getNumber(view, at + 40);
  if (header.clientSeq < 0 || header.lowWater < 0 || header.term < 0 || header.offsetBytes < 0) return 'ERR_FRAME_NUMBER';
  header.lengthBytes = view.getUint32(at + 48, true);
  header.session = view.getUint32(at + 52, true);
  if (view.getUint32(at + 56, true) !== 0 || view.getUint32(at + 60, true) !== 0) return 'ERR_FRAME_RESERVED';
  return null;
}

/** 64-bit little-endian, below 2^53. */
export function setNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, value / HIGH, true);
}

/** 64-bit little-endian; -1 where the number is 2^53 or more. */
export function getNumber(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high < HIGH_LIMIT ? high * HIGH + view.getUint32(at, true) : -1;
}

if (HEADER_BYTES !== 64) throw new Error('frame: the layout above has 64 bytes');
