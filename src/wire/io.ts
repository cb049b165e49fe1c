import { getNumber, setNumber, type FrameHeader } from './frame.js';
import { MAP_EXTENT_BYTES, MAX_OFFSET_BYTES, MAX_RANGE_BYTES } from './limits.js';
import { IoOp, MAX_IO_BYTES, MAX_MAP_EXTENTS } from './path.js';
import { IoStatus } from './status.js';

/**
 * I/O: header only, and the data.
 *
 * ```
 * IO_REQUEST  op, flags (fua), tag, clientSeq, lowWater, offsetBytes, lengthBytes; payload: WRITE's data
 * IO_REPLY    op, status, tag, clientSeq, term, lengthBytes as in the request; payload: READ's data or MAP's extents when status is ok
 * ```
 * An extent of MAP: u64 lengthBytes, u32 flags (NBD's base:allocation: 1 hole, 2 zero), u32 0.
 */
export type IoFault = 'ERR_IO_OP' | 'ERR_IO_LENGTH' | 'ERR_IO_RANGE' | 'ERR_IO_SEQ' | 'ERR_IO_STATUS';

/** Longest `lengthBytes` by op; -1 for an unknown op. */
const maxLength = new Float64Array(256).fill(-1);
for (const op of Object.values(IoOp)) maxLength[op] = op === IoOp.read || op === IoOp.write ? MAX_IO_BYTES : MAX_RANGE_BYTES;
maxLength[IoOp.flush] = 0;

const STATUSES = Object.keys(IoStatus).length;

/** What an edge checks before a request goes anywhere. Bounds of the vdisk are the controller's. */
export function checkIoRequest(header: FrameHeader): IoFault | null {
  const { op, lengthBytes } = header;
  const most = maxLength[op]!;
  if (most < 0) return 'ERR_IO_OP';
  if (lengthBytes > most || (lengthBytes === 0 && op !== IoOp.flush)) return 'ERR_IO_LENGTH';
  if (header.payloadBytes !== (op === IoOp.write ? lengthBytes : 0)) return 'ERR_IO_LENGTH';
  if (header.offsetBytes > MAX_OFFSET_BYTES - lengthBytes) return 'ERR_IO_RANGE';
  if (header.clientSeq < 1 || header.lowWater > header.clientSeq) return 'ERR_IO_SEQ';
  return null;
}

/** The reply's own consistency; that it answers something asked is checked by the path. */
export function checkIoReply(header: FrameHeader): IoFault | null {
  const { op, status, payloadBytes } = header;
  if (maxLength[op]! < 0) return 'ERR_IO_OP';
  if (status >= STATUSES) return 'ERR_IO_STATUS';
  const ok = status === IoStatus.ok;
  if (op === IoOp.read) return payloadBytes === (ok ? header.lengthBytes : 0) ? null : 'ERR_IO_LENGTH';
  if (op === IoOp.map && ok) {
    const fits = payloadBytes > 0 && payloadBytes % MAP_EXTENT_BYTES === 0 && payloadBytes <= MAX_MAP_EXTENTS * MAP_EXTENT_BYTES;
    return fits ? null : 'ERR_IO_LENGTH';
  }
  return payloadBytes === 0 ? null : 'ERR_IO_LENGTH';
}

/** Writes `count` extents at byte `at`; returns the bytes written. */
export function encodeExtents(view: DataView, at: number, extents: Float64Array, count: number): number {
  for (let i = 0; i < count; i++) {
    setNumber(view, at + i * MAP_EXTENT_BYTES, extents[2 * i]!);
    view.setUint32(at + i * MAP_EXTENT_BYTES + 8, extents[2 * i + 1]!, true);
    view.setUint32(at + i * MAP_EXTENT_BYTES + 12, 0, true);
  }
  return count * MAP_EXTENT_BYTES;
}

/** Reads a MAP payload into `extents`; returns their count, or -1 where a length is 0 or no exact number. */
export function decodeExtents(view: DataView, at: number, payloadBytes: number, extents: Float64Array): number {
  const count = payloadBytes / MAP_EXTENT_BYTES;
  for (let i = 0; i < count; i++) {
    const lengthBytes = getNumber(view, at + i * MAP_EXTENT_BYTES);
    if (lengthBytes < 1) return -1;
    extents[2 * i] = lengthBytes;
    extents[2 * i + 1] = view.getUint32(at + i * MAP_EXTENT_BYTES + 8, true);
  }
  return count;
}
