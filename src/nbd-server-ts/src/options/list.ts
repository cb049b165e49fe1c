import { reply, replyWith, type Negotiation, type OptionOutcome, type OptionReplyMessage } from '../handshake/negotiation.js';
import { refuse, refuseInvalid } from '../handshake/refusal.js';
import { MAX_LIST_BYTES } from '../limits.js';
import { ByteWriter } from '../protocol/bytes.js';
import { OptionReply } from '../protocol/constants.js';
import { encodeString } from '../protocol/strings.js';

// NBD_OPT_LIST (3), proto.md "Option types".
//   data:    none
//   answer:  NBD_REP_SERVER (2) for each export: u32 length of name · name · details (the description, to the end) ; then ACK
//   errors:  ERR_INVALID with data; ERR_POLICY where the server does not list; ERR_TOO_BIG where the list passes MAX_LIST_BYTES

export function handleList(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  if (data.length > 0) return refuseInvalid('LIST takes no data');
  if (!negotiation.offerList) return refuse(OptionReply.errPolicy, 'this server does not list its exports');
  const replies: OptionReplyMessage[] = [];
  let totalBytes = 0;
  for (const { name, description } of negotiation.directory.list()) {
    const nameBytes = encodeString(name);
    const details = encodeString(description);
    // An export that cannot be named on the wire cannot be asked for either: it is left out.
    if (nameBytes === null || details === null) continue;
    const answer = new ByteWriter(4 + nameBytes.length + details.length).u32(nameBytes.length).raw(nameBytes).raw(details);
    totalBytes += 20 + answer.bytes.length;
    if (totalBytes > MAX_LIST_BYTES) return refuse(OptionReply.errTooBig, 'there are too many exports to list: name the one you want');
    replies.push(reply(OptionReply.server, answer.bytes));
  }
  return replyWith(...replies, reply(OptionReply.ack));
}
