import { reply, type Negotiation, type OptionOutcome } from '../handshake/negotiation.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_ABORT (2), proto.md "Option types".
//   data:    none; what a client sends all the same is ignored
//   answer:  ACK, then the connection ends

export function handleAbort(_negotiation: Negotiation, _data: Uint8Array): OptionOutcome {
  return { replies: [reply(OptionReply.ack)], then: { kind: 'close', reason: 'the client aborted the negotiation' } };
}
