import { baseOfMember, nodeOfMember } from '../../../wire/replicate.js';
import type { ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import type { GroupChange } from './group-change.js';
import { MEMBER_TIMEOUT_MS, SLEPT_MS } from './limits.js';
import type { LetGo } from './messages.js';
import type { Peer } from './peer.js';

/** Who is in a controller's group: takes silent members out (rule 9), learners in (rule 10), and lets go whoever asks to leave. */
export class Membership {
  /** Why somebody was to be taken out last. */
  removalReason = '';
  #alive: readonly MemberId[] = [];
  #tickMs: number;

  constructor(
    readonly context: ReplicaContext,
    readonly changes: GroupChange,
    readonly term: number,
    /** The leader's: it puts them in, and whoever is in the group no more is taken out here. */
    readonly peers: Map<MemberId, Peer>,
  ) {
    this.#tickMs = context.nowMs;
  }

  alive(members: readonly MemberId[]): void {
    this.#alive = members;
  }

  /** This process stood still: what the others have answered meanwhile has not been heard yet, and their silence is not theirs. */
  forgiveSleep(): void {
    const { nowMs } = this.context;
    const sleptMs = nowMs - this.#tickMs;
    this.#tickMs = nowMs;
    if (sleptMs < SLEPT_MS) return;
    for (const peer of this.peers.values()) if (peer.waitingSinceMs >= 0) peer.waitingSinceMs += sleptMs;
  }

  /** The member that has most of the log: it would be the first to serve. One on a drained node only where there is no other. `not`: anybody but this one. */
  successor(not: MemberId | null): MemberId | null {
    const { drained } = this.context;
    const able = [...this.peers.values()].filter(({ id, canFollow }) => canFollow && id !== not);
    const fit = able.filter(({ id }) => !drained.has(nodeOfMember(id)));
    let best: Peer | null = null;
    for (const peer of fit.length > 0 ? fit : able) if (best === null || peer.confirmedSeq > best.confirmedSeq) best = peer;
    return best?.id ?? null;
  }

  /** A proposal of this controller is known to be the record now. */
  groupChanged(): void {
    const { members } = this.changes.group;
    for (const peer of [...this.peers.values()]) {
      if (members.includes(peer.id)) peer.isLearner = false;
      else if (!peer.isLearner) {
        this.peers.delete(peer.id);
        if (peer.isLeaving) this.#replyToLeave(peer.id, true);
      }
    }
  }

  /** Also while a removal's outcome is unknown: what is cut off from the members is cut off from the metadata, and none of its proposals ends. */
  get isCutOff(): boolean {
    if (this.context.replicationFactor < 3) return false;
    const silent = this.changes.group.members.filter(id => id !== this.context.self && this.#isSilent(this.peers.get(id)!));
    return silent.length >= 2 && silent.length === this.changes.group.members.length - 1 && silent.every(id => this.#alive.includes(id));
  }

  /** `mayBeAlone`: the own log is known to be whole without the others'. */
  removeSilent(mayBeAlone: boolean): void {
    const { group } = this.changes;
    const silent = new Set<MemberId>();
    for (const peer of this.peers.values()) {
      if (!this.#isSilent(peer)) continue;
      if (peer.isLearner) this.peers.delete(peer.id);
      else silent.add(peer.id);
    }
    if (silent.size === 0) return;
    const members = group.members.filter(id => !silent.has(id));
    if (members.length === 1 && !mayBeAlone) return;
    const isClosed = [...silent].some(id => this.peers.get(id)?.isClosed === true);
    this.removalReason = isClosed ? 'its connection has closed' : `it has not answered for ${MEMBER_TIMEOUT_MS} ms`;
    this.changes.propose('remove', { ...group, members });
  }

  #isSilent({ isClosed, waitingSinceMs }: Peer): boolean {
    return isClosed || (waitingSinceMs >= 0 && this.context.nowMs - waitingSinceMs >= MEMBER_TIMEOUT_MS);
  }

  /** Members that stay: those on nodes that are removed from the cluster count no more. */
  get #staying(): readonly MemberId[] {
    const { removals } = this.context;
    return this.changes.group.members.filter(id => !removals.has(nodeOfMember(id)));
  }

  /** A controller on such a node is none for long: it has been asked to hand over. */
  releaseRemoved(): void {
    const { self, removals, replicationFactor, minMembers } = this.context;
    if (removals.size === 0 || !this.changes.allows('propose')) return;
    const { group } = this.changes;
    const staying = this.#staying.length;
    const mayGo = (id: MemberId): boolean => {
      const copies = removals.get(nodeOfMember(id));
      return id !== self && copies !== undefined && staying >= Math.max(minMembers, Math.min(copies, replicationFactor));
    };
    const members = group.members.filter(id => !mayGo(id));
    if (members.length === group.members.length) return;
    this.removalReason = 'it is removed from the cluster';
    this.changes.propose('remove', { ...group, members });
  }

  /**
   * Rule 10: a learner that has everything acknowledged so far: durably up to `committedSeq`, in memory at least up to `heldSeq`. From the proposal on, nothing is
   * acknowledged without it.
   */
  admitLearners(committedSeq: number, heldSeq: number): void {
    if (!this.changes.allows('propose')) return;
    for (const peer of this.peers.values()) {
      if (!peer.isLearner || peer.state.kind !== 'attached' || peer.confirmedSeq < committedSeq || peer.heldSeq < heldSeq) continue;
      const { group } = this.changes;
      // An earlier start of its node, if the record still has it, has ended.
      const isOther = (id: MemberId): boolean => baseOfMember(id) !== baseOfMember(peer.id);
      // The one that was quicker has taken its place.
      if (this.#staying.filter(isOther).length >= this.context.replicationFactor) this.peers.delete(peer.id);
      else return this.changes.propose('add', { ...group, members: [...group.members.filter(isOther), peer.id] });
    }
  }

  /** Its node is about to stop. It acknowledges until the change is known, so nothing waits for that. */
  leave(id: MemberId, isServing: boolean): void {
    const { changes } = this;
    const peer = this.peers.get(id);
    if (!changes.commitSet.includes(id)) {
      this.peers.delete(id);
      return this.#replyToLeave(id, true);
    }
    if (peer === undefined) return;
    peer.isLeaving = true;
    // Another change is under way, or this one: it asks again.
    if (!isServing || !changes.allows('propose')) return;
    const members = changes.group.members.filter(member => member !== id);
    if (members.length < this.context.minMembers) return this.#replyToLeave(id, false);
    this.removalReason = 'it is about to stop';
    changes.propose('remove', { ...changes.group, members });
  }

  /** It believes that it has no place here. A member is told nothing: it goes on when it has asked long enough; and so does a copy that may be of use yet. */
  letGo({ from: id, attempt, what }: LetGo, isServing: boolean): void {
    if (this.changes.commitSet.includes(id)) return;
    const isWhole = isServing && this.changes.allows('propose') && this.#staying.length >= this.context.replicationFactor;
    if (what === 'copy' && !isWhole) return;
    // As a learner it would begin anew: what it has acknowledged counts no more.
    this.peers.delete(id);
    const { self, out } = this.context;
    out.push({ kind: 'send', to: id, message: { kind: 'letGo', attempt, what, isGranted: true, from: self, term: this.term } });
  }

  #replyToLeave(to: MemberId, isOut: boolean): void {
    const { self, out } = this.context;
    out.push({ kind: 'send', to, message: { kind: 'leaveReply', isOut, from: self, term: this.term } });
  }
}
