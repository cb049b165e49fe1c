import type { Negotiation, OptionOutcome } from '../handshake/negotiation.js';
import { refuse, refuseInvalid } from '../handshake/refusal.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_STARTTLS (5), proto.md "TLS support".
//   data:    none
//   answer:  this server is in the mode NOTLS: ERR_UNSUP
//   errors:  ERR_INVALID with data

export function handleStartTls(_negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('STARTTLS takes no data');
  return refuse(OptionReply.errUnsupported, 'this server does not offer TLS');
}
