import { reply, type Negotiation, type OptionOutcome } from '../handshake/negotiation.js';
import { refuse, refuseInvalid } from '../handshake/refusal.js';
import { OptionReply } from '../protocol/constants.js';

// NBD_OPT_STARTTLS (5), proto.md "TLS support".
//   data:    none
//   answer:  ACK, then the TLS handshake. What was negotiated before is forgotten; what was received behind the option ends the connection.
//   errors:  ERR_UNSUP where TLS is off; ERR_INVALID with data, or in TLS

export function handleStartTls({ tls, secure }: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('STARTTLS takes no data');
  if (tls === 'off') return refuse(OptionReply.errUnsupported, 'this server does not offer TLS');
  if (secure) return refuseInvalid('this is TLS already');
  return { replies: [reply(OptionReply.ack)], then: { kind: 'tls' } };
}
