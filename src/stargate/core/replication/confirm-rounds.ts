import type { ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import type { GroupChange } from './group-change.js';
import { RESEND_MS } from './limits.js';
import type { Peer } from './peer.js';

/** Rule 18: a controller finds out that it is one still. What that needs is not a place in the log, but that all members still promise its term after the round has begun. */
export class ConfirmRounds {
  /** The last one begun, and the last one that all have answered. */
  #round = 0;
  #answeredRound = 0;

  constructor(
    readonly context: ReplicaContext,
    readonly changes: GroupChange,
    readonly term: number,
    readonly peers: ReadonlyMap<MemberId, Peer>,
  ) {}

  begin(): void {
    this.#round++;
    this.ask();
  }

  /** Those who have not been asked in this round, or have not answered for a while. */
  ask(): void {
    const { self, nowMs } = this.context;
    for (const id of this.changes.commitSet) {
      const peer = id === self ? undefined : this.peers.get(id);
      if (peer === undefined || peer.answeredRound === this.#round) continue;
      if (peer.askedRound === this.#round && nowMs - peer.askedMs < RESEND_MS) continue;
      peer.askedRound = this.#round;
      peer.askedMs = nowMs;
      peer.send({ kind: 'confirm', round: this.#round, from: self, term: this.term });
    }
  }

  answered(peer: Peer, round: number, lastSeq: number): void {
    if (round > peer.askedRound) return;
    peer.answeredRound = Math.max(peer.answeredRound, round);
    peer.settle(lastSeq);
  }

  /** After whatever may have changed who has answered, or who has to. */
  advance(): void {
    if (this.#answeredRound === this.#round) return;
    let round = this.#round;
    const { commitSet } = this.changes;
    for (let i = 0; i < commitSet.length; i++)
      if (commitSet[i] !== this.context.self) round = Math.min(round, this.peers.get(commitSet[i]!)!.answeredRound);
    if (round <= this.#answeredRound) return;
    this.#answeredRound = round;
    // Of the last one alone: for whoever has come since, the others are too old.
    if (round === this.#round) this.context.out.push({ kind: 'confirmed', term: this.term });
  }
}
