import type { ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import type { Cut, Message, SealReply } from './messages.js';
import { go, type Transitions } from './states.js';

/** Its answer to a seal, while what it has beyond my end is fetched; `toSeq`: the last entry that was asked for. */
export interface Ahead {
  readonly reply: SealReply;
  readonly toSeq: number;
}

/**
 * Another replica, as its controller sees it.
 *
 * ```
 *             reply: its log is a beginning of mine
 *   sealing ───────────────────────────────────────▶ attached
 *    ▲ ▲ └──── reply: more, or other entries ──▶ cutting ─▲ its end is in my log
 *    │ └───────────────────── again ────────────────┘     │
 *    └─────────────────────── again ──────────────────────┘     again: what it says does not fit
 * ```
 */
export type PeerState =
  | { readonly kind: 'sealing'; readonly attempt: number; readonly ahead: Ahead | null }
  /** The cut is sent until it is answered; entries follow it at once: they fit only behind it. */
  | { readonly kind: 'cutting'; readonly cut: Cut }
  | { readonly kind: 'attached' };

export type PeerEvent = 'again' | 'isPrefix' | 'hasMore' | 'isCut';

export const PEER_TRANSITIONS: Transitions<PeerState['kind'], PeerEvent> = {
  sealing: { isPrefix: 'attached', hasMore: 'cutting', again: 'sealing' },
  cutting: { isCut: 'attached', again: 'sealing' },
  attached: { again: 'sealing' },
};

export class Peer {
  state: PeerState = { kind: 'sealing', attempt: 0, ahead: null };
  attempts = 0;
  /** Last entry sent. */
  sentSeq = 0;
  /** It has my log durably up to here. Never goes back: durable is durable. */
  confirmedSeq = 0;
  /** It has my log in its memory up to here. Never goes back either: a start of its node that has lost its memory is another peer. */
  heldSeq = 0;
  /** Last watermark sent. */
  watermark = 0;
  /** When something was asked of it that it has not answered with progress; -1: nothing is. */
  waitingSinceMs = -1;
  lastSentMs = 0;
  isClosed = false;
  /** Confirm rounds: the last one that it was asked for, when, and the last one that it has answered. */
  askedRound = 0;
  askedMs = 0;
  answeredRound = 0;
  /** It has asked to be taken out. */
  isLeaving = false;

  constructor(
    readonly context: ReplicaContext,
    readonly id: MemberId,
    /** Not in the record yet. */
    public isLearner: boolean,
  ) {}

  get canFollow(): boolean {
    return !this.isLearner && !this.isClosed && this.state.kind === 'attached';
  }

  /** It is known how far its log is mine: what it has to be sent yet is known too. */
  get isPlaced(): boolean {
    return this.state.kind !== 'sealing' || this.confirmedSeq > 0;
  }

  send(message: Message): void {
    const { nowMs, out } = this.context;
    this.lastSentMs = nowMs;
    if (this.waitingSinceMs < 0 && message.kind !== 'watermark') this.waitingSinceMs = nowMs;
    out.push({ kind: 'send', to: this.id, message });
  }

  /** Whether anything is still asked of it; `lastSeq`: of its controller's log. */
  settle(lastSeq: number): void {
    if (this.confirmedSeq === lastSeq && this.answeredRound === this.askedRound) this.waitingSinceMs = -1;
  }

  go(event: PeerEvent, to: PeerState): void {
    this.state = go(PEER_TRANSITIONS, this.state, event, to);
  }
}
