import { idOf } from '../../../meta/groups.js';
import { candidatesForCopy, type Candidate } from '../../../meta/placement.js';
import type { PeerNode } from '../../../wire/peers.js';
import { bootedMember, memberId, nodeOfMember, type MemberId } from '../../../wire/replicate.js';
import type { Group, Removals } from '../../core/replication/effects.js';
import type { GroupVdisk } from './group-vdisk.js';
import { HOLD_FILL, REPAIR_INTERVAL_MS } from './limits.js';

/** A node that says in the metadata that it lives: it could take a copy. */
export type LivingNode = Candidate;

/** As many copies as there are to be: who is to hold one that is missing, and which one nobody needs. By what the metadata shows of the nodes. */
export class Redundancy {
  /** All others. */
  nodes: readonly PeerNode[] = [];
  /** Those that are removed from the cluster. */
  removals: Removals = new Map();
  #living: readonly LivingNode[] = [];
  #livingNodes: ReadonlySet<string> = new Set();

  constructor(
    readonly self: MemberId,
    readonly keepSurplusMs: number,
  ) {}

  get living(): readonly LivingNode[] {
    return this.#living;
  }

  set living(living: readonly LivingNode[]) {
    this.#living = living;
    this.#livingNodes = new Set(living.map(one => one.member.node));
  }

  isLiving(node: string): boolean {
    return this.#livingNodes.has(node);
  }

  /**
   * Another learner, the best place for a copy first: it is brought up first. The others follow, since one of them may have most of the log and be whole
   * sooner, or the best may be unable to take it. The machines ignore who is one already.
   */
  repair(one: GroupVdisk): number {
    const group = one.group;
    const staying = group?.members.filter(member => !this.removals.has(nodeOfMember(member))).length ?? 0;
    if (group === null || staying >= one.options.replicationFactor) {
      one.learnerTurn = 0;
      return REPAIR_INTERVAL_MS;
    }
    const all = this.#candidatesFor(group);
    const candidates = one.isForgetful ? this.started(all) : all;
    if (candidates.length > 0) this.#addLearner(one, candidates[one.learnerTurn++ % candidates.length]!);
    return REPAIR_INTERVAL_MS;
  }

  #addLearner(one: GroupVdisk, member: MemberId): void {
    const isOne = (): boolean => one.replica.takeover.leader?.peer(member)?.isLearner === true;
    const wasOne = isOne();
    one.step({ kind: 'addMember', member });
    if (!wasOne && isOne()) one.events.learner(member);
  }

  /** Those that are not known to live come last. */
  #candidatesFor({ members }: Group): MemberId[] {
    const living = candidatesForCopy(members.map(nodeOfMember), this.living).map(one => idOf(one.member));
    const all = new Set([...living, ...this.nodes.map(idOfNode)]);
    const isRemoved = (member: MemberId): boolean => this.removals.has(nodeOfMember(member));
    return [...all].filter(member => !members.includes(member) && member !== this.self && !isRemoved(member));
  }

  /** As they run now; those of which that is not known are left out. */
  started(members: readonly MemberId[]): MemberId[] {
    const starts = new Map(this.nodes.filter(({ boot }) => boot !== undefined).map(node => [idOfNode(node), startOf(node)]));
    return members.flatMap(member => starts.get(member) ?? []);
  }

  /**
   * Of a replica that its group has no place for. What of its log is not committed never will be, and others need the room; and after some time, in which another one might
   * still be lost, nobody needs the copy.
   */
  letGoOfSurplus(one: GroupVdisk, nowMs: number): void {
    if (!isSurplus(one)) one.surplusSinceMs = -1;
    else if (one.surplusSinceMs < 0) one.surplusSinceMs = nowMs;
    const what = this.#surplusOf(one, nowMs);
    const controller = what === null ? undefined : this.nodes.find(({ node }) => node === one.controllerNode);
    if (controller !== undefined)
      one.step({ kind: 'surplus', controller: one.isForgetful ? startOf(controller) : idOfNode(controller), what: what! });
  }

  /** What of a replica nobody needs, if anything. */
  #surplusOf(one: GroupVdisk, nowMs: number): 'tail' | 'copy' | null {
    const { surplusSinceMs, memberNodes } = one;
    if (surplusSinceMs < 0) return null;
    const isOld = nowMs - surplusSinceMs >= this.keepSurplusMs;
    if (isOld && memberNodes.every(node => this.isLiving(node))) return 'copy';
    return holdsTheLog(one) ? 'tail' : null;
  }
}

/** As the record was seen last: it names enough others. */
const isSurplus = ({ controller, memberNodes, options, isMember, resyncs }: GroupVdisk): boolean =>
  controller === null && memberNodes.length >= options.replicationFactor && !isMember && !resyncs.isTarget;

/** Other vdisks wait, or will, for the room that its entries have in the log. */
const holdsTheLog = ({ log, stream: { usage } }: GroupVdisk): boolean =>
  log.oldestNeededLsn !== Infinity && usage.usedBytes >= usage.capacityBytes * HOLD_FILL;

export const idOfNode = ({ node, storeUuid, incarnation }: PeerNode): MemberId => memberId(node, storeUuid, incarnation);

const startOf = (node: PeerNode): MemberId => bootedMember(idOfNode(node), node.boot ?? 0);
