import { baseOfMember, bootOfMember, nodeOfMember } from '../../../wire/replicate.js';
import type { Group, ReplicaContext, Seen } from './effects.js';
import type { MemberId } from './entry.js';
import { COLD_PATIENCE_MS } from './limits.js';
import type { Member } from './member.js';

/**
 * Rule 27: a takeover by a start of a node that is no member, when no start that is one is left. With `durability: flush` members acknowledge what is in their memory, so a
 * member is one start of its node, and the next one is a member of nothing: what it lacks another member may have. Only when that is not so any more it goes on from what is on
 * its disk. Nothing that was flushed is missing there, since that was durable at every member; what was not may be, and then the record says so (`lossTerm`) until the log does.
 *
 * ```
 *   each other member of the record:  its node has registered a later start          → its memory is gone
 *                                     it has not, and the node says that it lives     → it is to take over, not this one
 *                                     it has not, and nothing is heard of the node    → it is waited for, COLD_PATIENCE_MS
 * ```
 */
export class ColdTakeover {
  /** The record in which others were missed, and since when. */
  #epoch = -1;
  #sinceMs = 0;

  constructor(
    readonly context: ReplicaContext,
    readonly member: Member,
  ) {}

  /** What the record is to say; null: it is not for this replica to take over. */
  takeover(group: Group, seen: Seen | undefined): Pick<Group, 'members' | 'lossTerm'> | null {
    const { self, durability, mutations } = this.context;
    if (durability !== 'flush' || seen === undefined) return null;
    const former = group.members.find(id => baseOfMember(id) === baseOfMember(self) && bootOfMember(id) < bootOfMember(self));
    if (former === undefined) return null;
    const others = group.members.filter(id => id !== former);
    const heirs = others.flatMap(id => seen.current.filter(next => isLater(next, id)));
    const isEnded = (id: MemberId): boolean =>
      seen.current.some(next => nodeOfMember(next) === nodeOfMember(id) && next !== id && !isLater(id, next));
    // Before its first term nothing was acknowledged.
    if (group.term === 0) return { members: [self, ...heirs], lossTerm: group.lossTerm };
    const missed = others.filter(id => !isEnded(id));
    if (mutations.takesOverCold !== true && !this.#mayGoWithout(missed, group.epoch, seen)) return null;
    const isNext = bootOfMember(self) === bootOfMember(former) + 1;
    // Its log has all that the former start ever held. Of the others nobody knows: they begin anew.
    if (isNext && !this.member.mayHaveForgotten && !this.member.isTorn) return { members: [self], lossTerm: group.lossTerm };
    return { members: [self, ...heirs], lossTerm: mutations.lossUnmarked === true ? group.lossTerm : group.epoch + 1 };
  }

  #mayGoWithout(missed: readonly MemberId[], epoch: number, { living }: Seen): boolean {
    if (missed.length === 0) return true;
    const { nowMs } = this.context;
    const isNew = epoch !== this.#epoch;
    this.#epoch = epoch;
    if (isNew || missed.some(id => living.includes(nodeOfMember(id)))) this.#sinceMs = nowMs;
    return nowMs - this.#sinceMs >= COLD_PATIENCE_MS;
  }
}

/** The same store under the same incarnation, started again. */
const isLater = (next: MemberId, id: MemberId): boolean => baseOfMember(next) === baseOfMember(id) && bootOfMember(next) > bootOfMember(id);
