import type { Export, ExportDirectory } from '../export.js';
import type { OptionReply } from '../protocol/constants.js';

/** What a client has negotiated so far. Options change it; nothing else does. */
export interface Negotiation {
  readonly directory: ExportDirectory;
  /** From the client's flags: EXPORT_NAME is answered without the 124 zero bytes. */
  noZeroes: boolean;
  structuredReplies: boolean;
  /** The export that a successful SET_META_CONTEXT named, or null; contexts hold for that export alone. */
  metaExportName: string | null;
  baseAllocation: boolean;
  /** The server is closing: every option but ABORT gets ERR_SHUTDOWN. */
  shuttingDown: boolean;
}

/** What the transmission phase needs to know. Plain data: it can be posted to another thread. */
export interface Negotiated {
  readonly exportName: string;
  readonly structuredReplies: boolean;
  /** base:allocation was selected. */
  readonly baseAllocation: boolean;
}

export interface OptionReplyMessage {
  readonly type: OptionReply;
  readonly data: Uint8Array;
}

/** What an option leads to. `raw`: bytes that are no option reply (EXPORT_NAME). */
export interface OptionOutcome {
  readonly replies: readonly OptionReplyMessage[];
  readonly raw?: Uint8Array;
  readonly then:
    | { readonly kind: 'options' }
    | { readonly kind: 'transmission'; readonly target: Export }
    | { readonly kind: 'close'; readonly reason: string };
}

/** Handles the data of one option; changes `negotiation`, and nothing else. */
export type OptionHandler = (negotiation: Negotiation, data: Uint8Array) => OptionOutcome;

const NO_BYTES = new Uint8Array(0);
const STAY = { kind: 'options' } as const;

export function replyWith(...replies: OptionReplyMessage[]): OptionOutcome {
  return { replies, then: STAY };
}

export function reply(type: OptionReply, data: Uint8Array = NO_BYTES): OptionReplyMessage {
  return { type, data };
}

export function closeBecause(reason: string): OptionOutcome {
  return { replies: [], then: { kind: 'close', reason } };
}
