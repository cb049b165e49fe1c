import { OptionReply } from '../protocol/constants.js';
import { textBytes } from '../protocol/strings.js';
import { reply, replyWith, type OptionOutcome } from './negotiation.js';

/** Error replies with their text for people. Fixed texts: what a client sent is never echoed. */
export function refuse(type: OptionReply, text: string): OptionOutcome {
  return replyWith(reply(type, textBytes(text)));
}

export function refuseInvalid(text: string): OptionOutcome {
  return refuse(OptionReply.errInvalid, text);
}

export function refuseWithoutTls(): OptionOutcome {
  return refuse(OptionReply.errTlsRequired, 'start TLS first');
}

export function refuseUnknownExport(): OptionOutcome {
  return refuse(OptionReply.errUnknown, 'no export of that name');
}
