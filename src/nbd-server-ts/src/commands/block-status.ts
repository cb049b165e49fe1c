import { MAX_CONTEXTS } from '../limits.js';
import { CommandFlag, contextId, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_BLOCK_STATUS (7), proto.md "Request types".
//   flags:   FUA, REQ_ONE; PAYLOAD_LEN with extended headers
//   payload: (with PAYLOAD_LEN, whose length the header then gives) u64 length asked for · n × u32 context id
//   answer:  a status chunk for each context negotiated, or of those named: replies/chunks.ts. MAX_EXTENTS at most; of long requests the beginning
//   errors:  EINVAL (no context negotiated, a context that is not, or twice; flags, range)

export function checkBlockStatus(header: RequestHeader, rules: Rules): number {
  const allowed = rules.fuaFlag | CommandFlag.requestOne | (rules.extendedHeaders ? CommandFlag.payloadLength : 0);
  if (rules.contextMask === 0 || (header.flags & ~allowed) !== 0) return NbdErrno.invalid;
  if ((header.flags & CommandFlag.payloadLength) !== 0) return isStatusPayload(header.payloadBytes) ? 0 : NbdErrno.invalid;
  header.contextMask = rules.contextMask;
  return checkRange(header, rules, NbdErrno.invalid);
}

const LENGTH_BYTES = 8;

function isStatusPayload(bytes: number): boolean {
  return bytes > LENGTH_BYTES && bytes <= LENGTH_BYTES + 4 * MAX_CONTEXTS && (bytes - LENGTH_BYTES) % 4 === 0;
}

/** Reads the payload at `at` into the header; 0, or the code to answer with. */
export function takeStatusPayload(view: DataView, at: number, header: RequestHeader, rules: Rules): number {
  const count = (header.payloadBytes - LENGTH_BYTES) / 4;
  let mask = 0;
  for (let i = 0; i < count; i++) {
    const context = view.getUint32(at + LENGTH_BYTES + 4 * i) - contextId(0);
    const bit = context >= 0 && context < MAX_CONTEXTS ? 1 << context : 0;
    if ((bit & rules.contextMask) === 0 || (bit & mask) !== 0) return NbdErrno.invalid;
    mask |= bit;
  }
  header.lengthBytes = view.getUint32(at) * 4_294_967_296 + view.getUint32(at + 4);
  header.contextMask = mask;
  return checkRange(header, rules, NbdErrno.invalid);
}
