import { reply, replyWith, type Negotiation, type OptionOutcome } from '../handshake/negotiation.js';
import { refuse, refuseInvalid } from '../handshake/refusal.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_STRUCTURED_REPLY (8), proto.md "Option types".
//   data:    none
//   answer:  ACK; READ and BLOCK_STATUS are answered in structured chunks from then on
//   errors:  ERR_INVALID with data; ERR_EXT_HEADER_REQD after EXTENDED_HEADERS

export function handleStructuredReply(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('STRUCTURED_REPLY takes no data');
  if (negotiation.extendedHeaders) return refuse(OptionReply.errExtendedHeadersRequired, 'extended headers hold already');
  negotiation.structuredReplies = true;
  return replyWith(reply(OptionReply.ack));
}
