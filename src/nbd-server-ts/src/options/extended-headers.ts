import type { Negotiation, OptionOutcome } from '../handshake/negotiation.js';
import { refuse, refuseInvalid } from '../handshake/refusal.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_EXTENDED_HEADERS (11), branch extension-ext-header of the specification.
//   data:    none
//   answer:  not offered: ERR_UNSUP, and the client goes on with the headers of 28 bytes
//   errors:  ERR_INVALID with data

export function handleExtendedHeaders(_negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('EXTENDED_HEADERS takes no data');
  return refuse(OptionReply.errUnsupported, 'extended headers are not offered');
}
