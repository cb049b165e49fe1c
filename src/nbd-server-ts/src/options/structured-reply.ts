import { reply, replyWith, type Negotiation, type OptionOutcome } from '../handshake/negotiation.js';
import { refuseInvalid } from '../handshake/refusal.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_STRUCTURED_REPLY (8), proto.md "Option types".
//   data:    none
//   answer:  ACK; READ and BLOCK_STATUS are answered in structured chunks from then on
//   errors:  ERR_INVALID with data

export function handleStructuredReply(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('STRUCTURED_REPLY takes no data');
  negotiation.structuredReplies = true;
  return replyWith(reply(OptionReply.ack));
}
