import { closeBecause, findExport, type Negotiation, type OptionOutcome } from '../handshake/negotiation.js';
import { ByteWriter } from '../protocol/bytes.js';
import { transmissionFlags } from '../protocol/export-info.js';
import { decodeString } from '../protocol/strings.js';

// NBD_OPT_EXPORT_NAME (1), proto.md "Option types".
//   data:    name (the whole of the data)
//   answer:  u64 size · u16 transmission flags · 124 zero bytes unless both sides set NO_ZEROES. No option reply.
// An error cannot be told: the connection is closed.

export const EXPORT_NAME_ZERO_BYTES = 124;

export function handleExportName(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  const name = decodeString(data);
  if (name === null) return closeBecause('EXPORT_NAME with an invalid name');
  if (negotiation.extendedHeaders) return closeBecause('EXPORT_NAME after EXTENDED_HEADERS');
  const target = findExport(negotiation, name);
  if (target === undefined || target === 'tls') return closeBecause('EXPORT_NAME of an unknown export');
  const answer = new ByteWriter(negotiation.noZeroes ? 10 : 10 + EXPORT_NAME_ZERO_BYTES)
    .u64(target.sizeBytes)
    .u16(transmissionFlags(target, negotiation));
  return { replies: [], raw: answer.bytes, then: { kind: 'transmission', target } };
}
