import assert from 'node:assert/strict';
import type { Export, ExportDirectory } from '../export.js';
import { MAX_DRAINED_OPTION_BYTES, MAX_OPTIONS, MAX_OPTION_BYTES } from '../limits.js';
import { OPTION_HANDLERS } from '../options/index.js';
import { clearContexts } from '../options/meta-context.js';
import { ByteReader } from '../protocol/bytes.js';
import { HandshakeFlag, OPTION_HEADER_BYTES, OPTION_MAGIC_HIGH, OPTION_MAGIC_LOW, OptionReply, OptionType } from '../protocol/constants.js';
import { encodeGreeting, encodeOptionReply } from './messages.js';
import { closeBecause, type Negotiated, type Negotiation, type OptionOutcome, type TlsMode } from './negotiation.js';
import { refuse, refuseWithoutTls } from './refusal.js';

/**
 *            client flags            option                     GO, EXPORT_NAME
 *  clientFlags ─────────▶ options ──────────▶ options ─ … ─ ─ ─────────────────▶ transmission
 *       │                  │    ▲ drained
 *       │ unknown flag     │    └──── draining ◀── data that is not looked at
 *       ▼                  ▼ bad magic, ABORT, too much         │ STARTTLS ▶ upgrading ─ secured ▶ options
 *     closed ◀─────────────┘
 */
export type HandshakeState =
  | { readonly kind: 'clientFlags' }
  | { readonly kind: 'options' }
  | { readonly kind: 'draining'; readonly option: number; readonly outcome: OptionOutcome; readonly remainingBytes: number }
  /** The answer to STARTTLS is in `output`; behind it the caller puts TLS in place, and says so ({@link Handshake.secured}). */
  | { readonly kind: 'upgrading' }
  | { readonly kind: 'transmission'; readonly target: Export; readonly negotiated: Negotiated }
  | { readonly kind: 'closed'; readonly reason: string };

export interface HandshakeOptions {
  readonly tls?: TlsMode;
  /** False: LIST is refused with ERR_POLICY. */
  readonly offerList?: boolean;
}

/** A handshake between two options, all answers sent: plain data, for another process to go on with ({@link NbdServer.takeBack}). */
export interface PausedHandshake {
  readonly tls: TlsMode;
  readonly hasFlags: boolean;
  readonly fixedNewstyle: boolean;
  readonly optionCount: number;
  readonly noZeroes: boolean;
  readonly structuredReplies: boolean;
  readonly extendedHeaders: boolean;
  readonly metaExportName: string | null;
  readonly contextMask: number;
}

/** Which states may follow which. Draining repeats as bytes come in. */
const FOLLOWS: Readonly<Record<HandshakeState['kind'], readonly HandshakeState['kind'][]>> = {
  clientFlags: ['options', 'closed'],
  options: ['options', 'draining', 'upgrading', 'transmission', 'closed'],
  upgrading: ['options', 'closed'],
  draining: ['draining', 'options', 'closed'],
  transmission: [],
  closed: [],
};

/**
 * The negotiation of one connection, as a pure machine: bytes in, bytes out. The caller sends everything in `output`, in order,
 * and looks at `state` after each `consume`.
 */
export class Handshake {
  /** To be sent; the caller empties it. */
  readonly output: Uint8Array[] = [encodeGreeting()];
  #state: HandshakeState = { kind: 'clientFlags' };
  #optionCount = 0;
  #fixedNewstyle = false;
  readonly #negotiation: Negotiation;

  constructor(directory: ExportDirectory, { tls = 'off', offerList = true }: HandshakeOptions = {}) {
    this.#negotiation = {
      directory,
      noZeroes: false,
      structuredReplies: false,
      extendedHeaders: false,
      metaExportName: null,
      contextMask: 0,
      tls,
      secure: false,
      offerList,
      shuttingDown: false,
    };
  }

  /** Goes on where another server's handshake was paused. */
  static resume(directory: ExportDirectory, options: HandshakeOptions, paused: PausedHandshake): Handshake {
    const handshake = new Handshake(directory, options);
    const { tls: _tls, hasFlags, fixedNewstyle, optionCount, ...negotiated } = paused;
    handshake.output.length = 0;
    handshake.#fixedNewstyle = fixedNewstyle;
    handshake.#optionCount = optionCount;
    Object.assign(handshake.#negotiation, negotiated);
    if (hasFlags) handshake.#enter({ kind: 'options' });
    return handshake;
  }

  /** Null: it is in the middle of something, has something to say, or is in TLS, which does not leave the process. */
  pause(): PausedHandshake | null {
    const { kind } = this.#state;
    const { tls, secure, noZeroes, structuredReplies, extendedHeaders, metaExportName, contextMask } = this.#negotiation;
    if ((kind !== 'clientFlags' && kind !== 'options') || this.output.length > 0 || secure) return null;
    const negotiated = { noZeroes, structuredReplies, extendedHeaders, metaExportName, contextMask };
    return { tls, hasFlags: kind === 'options', fixedNewstyle: this.#fixedNewstyle, optionCount: this.#optionCount, ...negotiated };
  }

  get secure(): boolean {
    return this.#negotiation.secure;
  }

  /** What comes and goes from here on is in TLS. What was negotiated before could be anybody's. */
  secured(): void {
    Object.assign(this.#negotiation, {
      structuredReplies: false,
      extendedHeaders: false,
      metaExportName: null,
      contextMask: 0,
      secure: true,
    });
    this.#enter({ kind: 'options' });
  }

  get state(): HandshakeState {
    return this.#state;
  }

  /** From now on options are refused with ERR_SHUTDOWN. */
  shutDown(): void {
    this.#negotiation.shuttingDown = true;
  }

  /**
   * Works off one item at the start of `bytes` and returns how many bytes that were; 0: more are needed, or the machine has ended.
   * What follows GO or EXPORT_NAME is left to the transmission phase. An incomplete item is at most OPTION_HEADER_BYTES + MAX_OPTION_BYTES.
   */
  consume(bytes: Uint8Array): number {
    switch (this.#state.kind) {
      case 'clientFlags':
        return this.#consumeClientFlags(bytes);
      case 'options':
        return this.#consumeOption(bytes);
      case 'draining':
        return this.#drain(bytes, this.#state);
      case 'upgrading':
        return bytes.length === 0 ? 0 : this.#close('plaintext behind STARTTLS', bytes.length);
      case 'transmission':
      case 'closed':
        return 0;
    }
  }

  #enter(next: HandshakeState): void {
    assert(FOLLOWS[this.#state.kind].includes(next.kind), `handshake: ${this.#state.kind} → ${next.kind}`);
    this.#state = next;
  }

  #consumeClientFlags(bytes: Uint8Array): number {
    if (bytes.length < 4) return 0;
    const flags = new ByteReader(bytes).u32();
    const known = HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes;
    if ((flags & ~known) !== 0) this.#enter({ kind: 'closed', reason: 'unknown client flags' });
    else {
      this.#fixedNewstyle = (flags & HandshakeFlag.fixedNewstyle) !== 0;
      this.#negotiation.noZeroes = (flags & HandshakeFlag.noZeroes) !== 0;
      this.#enter({ kind: 'options' });
    }
    return 4;
  }

  #consumeOption(bytes: Uint8Array): number {
    if (bytes.length < OPTION_HEADER_BYTES) return 0;
    const header = new ByteReader(bytes);
    if (header.u32() !== OPTION_MAGIC_HIGH || header.u32() !== OPTION_MAGIC_LOW) return this.#close('bad option magic', bytes.length);
    const option = header.u32();
    const lengthBytes = header.u32();
    const refusal = this.#refusal(option, lengthBytes);
    if (refusal === null && bytes.length < OPTION_HEADER_BYTES + lengthBytes) return 0;
    if (++this.#optionCount > MAX_OPTIONS) return this.#close('too many options', bytes.length);
    if (refusal !== null) {
      // A SET that fails clears what was selected, also where its data is not looked at.
      if (option === OptionType.setMetaContext) clearContexts(this.#negotiation);
      this.#enterDraining(option, refusal, lengthBytes);
      return OPTION_HEADER_BYTES;
    }
    const data = bytes.subarray(OPTION_HEADER_BYTES, OPTION_HEADER_BYTES + lengthBytes);
    this.#carryOut(option, OPTION_HANDLERS.get(option)!(this.#negotiation, data));
    return OPTION_HEADER_BYTES + lengthBytes;
  }

  /** What to answer where the option's data need not be looked at; null: look. */
  #refusal(option: number, lengthBytes: number): OptionOutcome | null {
    if (lengthBytes > MAX_DRAINED_OPTION_BYTES) return closeBecause('option data beyond all bounds');
    if (!this.#fixedNewstyle && option !== OptionType.exportName)
      return closeBecause('an option other than EXPORT_NAME without FIXED_NEWSTYLE');
    const handler = OPTION_HANDLERS.get(option);
    if (option === OptionType.abort) return handler!(this.#negotiation, new Uint8Array(0));
    const { tls, secure } = this.#negotiation;
    if (tls === 'forced' && !secure && option !== OptionType.startTls)
      return option === OptionType.exportName ? closeBecause('EXPORT_NAME without TLS') : refuseWithoutTls();
    if (this.#negotiation.shuttingDown)
      return option === OptionType.exportName
        ? closeBecause('shutting down')
        : refuse(OptionReply.errShutdown, 'the server is shutting down');
    if (handler === undefined) return refuse(OptionReply.errUnsupported, 'unknown option');
    if (lengthBytes <= MAX_OPTION_BYTES) return null;
    return option === OptionType.exportName
      ? closeBecause('EXPORT_NAME too long')
      : refuse(OptionReply.errTooBig, 'too much data for this option');
  }

  #enterDraining(option: number, outcome: OptionOutcome, remainingBytes: number): void {
    // Where the connection closes and nothing is said, there is nothing to stay in step for.
    if (remainingBytes === 0 || (outcome.then.kind === 'close' && outcome.replies.length === 0)) this.#carryOut(option, outcome);
    else this.#enter({ kind: 'draining', option, outcome, remainingBytes });
  }

  #drain(bytes: Uint8Array, { option, outcome, remainingBytes }: HandshakeState & { kind: 'draining' }): number {
    const taken = Math.min(bytes.length, remainingBytes);
    if (taken < remainingBytes) this.#enter({ kind: 'draining', option, outcome, remainingBytes: remainingBytes - taken });
    else this.#carryOut(option, outcome);
    return taken;
  }

  #carryOut(option: number, outcome: OptionOutcome): void {
    for (const { type, data } of outcome.replies) this.output.push(encodeOptionReply(option, type, data));
    if (outcome.raw !== undefined) this.output.push(outcome.raw);
    const { then } = outcome;
    if (then.kind === 'options') this.#enter({ kind: 'options' });
    else if (then.kind === 'tls') this.#enter({ kind: 'upgrading' });
    else if (then.kind === 'close') this.#enter({ kind: 'closed', reason: then.reason });
    else this.#enter({ kind: 'transmission', target: then.target, negotiated: this.#negotiated(then.target) });
  }

  #negotiated(target: Export): Negotiated {
    const { structuredReplies, extendedHeaders, contextMask, metaExportName, secure } = this.#negotiation;
    const ofTarget = metaExportName === target.name ? contextMask : 0;
    return { exportName: target.name, structuredReplies, extendedHeaders, contextMask: ofTarget, secure };
  }

  #close(reason: string, consumedBytes: number): number {
    this.#enter({ kind: 'closed', reason });
    return consumedBytes;
  }
}
