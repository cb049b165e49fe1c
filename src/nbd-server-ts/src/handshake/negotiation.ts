import type { Export, ExportDirectory } from '../export.js';
import type { OptionReply } from '../protocol/constants.js';

/** What a client has negotiated so far. Options change it; nothing else does. */
export interface Negotiation {
  readonly directory: ExportDirectory;
  /** From the client's flags: EXPORT_NAME is answered without the 124 zero bytes. */
  noZeroes: boolean;
  structuredReplies: boolean;
  extendedHeaders: boolean;
  /** The export that a successful SET_META_CONTEXT named, or null; contexts hold for that export alone. */
  metaExportName: string | null;
  /** Bit n: context number n of that export was selected. */
  contextMask: number;
  readonly tls: TlsMode;
  /** The connection is in TLS. */
  secure: boolean;
  readonly offerList: boolean;
  /** The server is closing: every option but ABORT gets ERR_SHUTDOWN. */
  shuttingDown: boolean;
}

/** What the transmission phase needs to know. Plain data: it can be posted to another thread. */
export interface Negotiated {
  readonly exportName: string;
  /** READ and BLOCK_STATUS are answered in chunks; with extended headers too. */
  readonly structuredReplies: boolean;
  readonly extendedHeaders: boolean;
  /** Bit n: the export's metadata context number n was selected. */
  readonly contextMask: number;
  /** The socket is the near end of a TLS thread's: it is worth nothing outside this process. */
  readonly secure: boolean;
}

/** proto.md, "TLS support": NOTLS, SELECTIVETLS (an export may ask for it), FORCEDTLS. */
export type TlsMode = 'off' | 'selective' | 'forced';

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
    | { readonly kind: 'tls' }
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

/** What an export's name means to this client; 'tls': it is served in TLS alone. */
export function findExport(negotiation: Negotiation, name: string): Export | 'tls' | undefined {
  const target = negotiation.directory.find(name);
  if (target?.requiresTls !== true || negotiation.secure) return target;
  // A server without TLS may not ask for it: it has no such export.
  return negotiation.tls === 'off' ? undefined : 'tls';
}
