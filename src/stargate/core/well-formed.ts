import { IoOp, MAX_IO_BYTES, type PathRequest } from '../../wire/path.js';

/** Whether a request can mean something, whatever the size of the vdisk. Otherwise its sender is at fault. */
export function isWellFormed({ op, offsetBytes, lengthBytes, payload }: PathRequest): boolean {
  if (op === IoOp.flush) return true;
  if (!(lengthBytes > 0 && offsetBytes >= 0 && Number.isSafeInteger(offsetBytes + lengthBytes))) return false;
  if (op === IoOp.write && payload.totalBytes !== lengthBytes) return false;
  return (op !== IoOp.read && op !== IoOp.write) || lengthBytes <= MAX_IO_BYTES;
}

/** Of a change it counts only whether it is inside when it gets its place in the log: it may have been applied before the vdisk was cut short, and come again. */
export function isReadBeyond({ op, offsetBytes, lengthBytes }: PathRequest, sizeBytes: number): boolean {
  const isRead = op === IoOp.read || op === IoOp.map || op === IoOp.prefetch;
  return isRead && offsetBytes + lengthBytes > sizeBytes;
}
