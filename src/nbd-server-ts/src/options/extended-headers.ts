import { reply, replyWith, type Negotiation, type OptionOutcome } from '../handshake/negotiation.js';
import { refuseInvalid } from '../handshake/refusal.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_EXTENDED_HEADERS (11), branch extension-ext-header of the specification.
//   data:    none
//   answer:  ACK; requests and replies have headers of 32 bytes with 64-bit lengths from then on, all replies are chunks
//   errors:  ERR_INVALID with data

export function handleExtendedHeaders(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('EXTENDED_HEADERS takes no data');
  negotiation.extendedHeaders = true;
  negotiation.structuredReplies = true;
  return replyWith(reply(OptionReply.ack));
}
