import { NbdServerError } from '../errors.js';
import type { Export } from '../export.js';
import type { Negotiation } from '../handshake/negotiation.js';
import { MAX_CONTEXTS, MAX_PAYLOAD_BYTES } from '../limits.js';
import { BASE_ALLOCATION, TransmissionFlag } from './constants.js';
import { encodeString } from './strings.js';

/** The metadata contexts of an export, by their numbers. */
export function contextNames(of: Export): readonly string[] {
  return of.features.blockStatus ? [BASE_ALLOCATION, ...(of.contexts ?? [])] : [];
}

/** What of the negotiation shows in the flags. */
export type FlagSource = Pick<Negotiation, 'structuredReplies' | 'extendedHeaders' | 'contextMask' | 'metaExportName'>;

/** Transmission flags of an export (proto.md, "Transmission flags"), as they follow from its features. */
export function transmissionFlags(of: Export, negotiated: FlagSource): number {
  const { features, readOnly } = of;
  const writable = !readOnly;
  let flags: number = TransmissionFlag.hasFlags;
  if (readOnly) flags |= TransmissionFlag.readOnly;
  if (features.flush) flags |= TransmissionFlag.sendFlush;
  if (features.fua) flags |= TransmissionFlag.sendFua;
  if (features.rotational) flags |= TransmissionFlag.rotational;
  if (features.trim && writable) flags |= TransmissionFlag.sendTrim;
  if (features.writeZeroes && writable) flags |= TransmissionFlag.sendWriteZeroes;
  // SEND_FAST_ZERO MUST NOT be set without SEND_WRITE_ZEROES, SEND_DF not without structured replies.
  if (features.writeZeroes && features.fastZero && writable) flags |= TransmissionFlag.sendFastZero;
  if (negotiated.structuredReplies) flags |= TransmissionFlag.sendDf;
  // BLOCK_STATUS_PAYLOAD MUST NOT be set without extended headers, and SHOULD NOT without contexts.
  if (negotiated.extendedHeaders && negotiated.contextMask !== 0 && negotiated.metaExportName === of.name)
    flags |= TransmissionFlag.blockStatusPayload;
  if (of.resize !== undefined && writable) flags |= TransmissionFlag.sendResize;
  if (features.multiConn) flags |= TransmissionFlag.canMultiConn;
  if (features.cache) flags |= TransmissionFlag.sendCache;
  return flags;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}

/**
 * Throws ERR_EXPORT_INVALID where an export breaks the rules of "Size constraints": minimum a power of two up to 64 KiB, preferred
 * a power of two from 512, not below the minimum, maximum a multiple of the minimum (32 MiB at most here), size a multiple of the minimum.
 */
export function checkExport(of: Export): void {
  const { minimumBytes, preferredBytes, maximumBytes } = of.blockSize;
  const refuse = (what: string): never => {
    throw new NbdServerError('ERR_EXPORT_INVALID', `export ${JSON.stringify(of.name)}: ${what}`);
  };
  if (encodeString(of.name) === null || encodeString(of.description) === null)
    refuse('name and description must be valid Unicode without NUL, at most 4096 bytes of UTF-8');
  if (!Number.isSafeInteger(of.sizeBytes) || of.sizeBytes < 0) refuse(`size must be an integer from 0 to 2^53 - 1, not ${of.sizeBytes}`);
  if (!isPowerOfTwo(minimumBytes) || minimumBytes > 65_536)
    refuse(`minimum block size must be a power of two up to 65536, not ${minimumBytes}`);
  if (!isPowerOfTwo(preferredBytes) || preferredBytes < Math.max(512, minimumBytes))
    refuse(`preferred block size must be a power of two, at least 512 and the minimum, not ${preferredBytes}`);
  if (maximumBytes % minimumBytes !== 0 || maximumBytes < preferredBytes || maximumBytes > MAX_PAYLOAD_BYTES)
    refuse(`maximum block size must be a multiple of the minimum, from the preferred size to ${MAX_PAYLOAD_BYTES}, not ${maximumBytes}`);
  const contexts = contextNames(of);
  if (contexts.length > MAX_CONTEXTS || new Set(contexts).size !== contexts.length)
    refuse(`at most ${MAX_CONTEXTS} metadata contexts, each once`);
  for (const context of contexts)
    if (!/^[^:]+:./.test(context) || encodeString(context) === null)
      refuse(`a metadata context is NAMESPACE:NAME, not ${JSON.stringify(context)}`);
  if (of.sizeBytes % minimumBytes !== 0) refuse(`size ${of.sizeBytes} is not a multiple of the minimum block size ${minimumBytes}`);
}
