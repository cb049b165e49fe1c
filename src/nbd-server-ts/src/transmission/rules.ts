import type { Export } from '../export.js';
import type { Negotiated } from '../handshake/negotiation.js';
import { CommandFlag, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from './request-header.js';

/** What the requests of one connection are measured by; fixed when the transmission phase begins, but for the size. */
export interface Rules {
  sizeBytes: number;
  /** Minimum block size − 1. */
  readonly minimumMask: number;
  readonly maximumBytes: number;
  readonly readOnly: boolean;
  readonly structuredReplies: boolean;
  readonly extendedHeaders: boolean;
  /** Contexts that were selected. */
  readonly contextMask: number;
  readonly resize: boolean;
  readonly flush: boolean;
  readonly trim: boolean;
  readonly cache: boolean;
  readonly writeZeroes: boolean;
  readonly fastZero: boolean;
  /** CommandFlag.fua where the export has it, else 0: FUA is good with every command. */
  readonly fuaFlag: number;
}

export function rulesOf(target: Export, negotiated: Negotiated): Rules {
  const { features, blockSize } = target;
  return {
    sizeBytes: target.sizeBytes,
    minimumMask: blockSize.minimumBytes - 1,
    maximumBytes: blockSize.maximumBytes,
    readOnly: target.readOnly,
    structuredReplies: negotiated.structuredReplies,
    extendedHeaders: negotiated.extendedHeaders,
    contextMask: negotiated.contextMask,
    resize: target.resize !== undefined,
    flush: features.flush,
    trim: features.trim,
    cache: features.cache,
    writeZeroes: features.writeZeroes,
    fastZero: features.fastZero,
    fuaFlag: features.fua ? CommandFlag.fua : 0,
  };
}

/**
 * What every command with a range has in common: at least one byte, in multiples of the minimum block, inside the export.
 * `beyondErrno`: ENOSPC for what would write there, EINVAL for the rest.
 */
export function checkRange(header: RequestHeader, rules: Rules, beyondErrno: number): number {
  const { offsetBytes, lengthBytes } = header;
  if (lengthBytes === 0) return NbdErrno.invalid;
  if (offsetBytes > rules.sizeBytes || lengthBytes > rules.sizeBytes - offsetBytes) return beyondErrno;
  return isAligned(offsetBytes, lengthBytes, rules.minimumMask) ? 0 : NbdErrno.invalid;
}

function isAligned(offsetBytes: number, lengthBytes: number, minimumMask: number): boolean {
  // Past 2^31 the bit operation sees the low 32 bits: enough, a minimum block is at most 64 KiB.
  return ((offsetBytes | lengthBytes) & minimumMask) === 0;
}
