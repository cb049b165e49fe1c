import type { EventDraft } from '../../../base/events.js';
import { nodeOfMember, type MemberId } from '../../../wire/replicate.js';
import type { Effect, Group } from '../../core/replication/effects.js';
import type { GroupVdisk } from './group-vdisk.js';

type Draft = Omit<EventDraft, 'vdiskId'>;

const ALARM_ACTION = 'keep the logs of all its nodes, and see docs/replication.md for what the alarm means';

/** What of one replica's life is told to people. */
export class GroupEvents {
  #members: Group | null = null;
  /** Who was told of as a learner, in this group. */
  readonly #learners = new Set<MemberId>();
  #learnersOf: Group | null = null;

  constructor(readonly group: GroupVdisk) {}

  serving(term: number): void {
    const { parts, replica } = this.group;
    const { reason, formerNode: from } = replica.takeover;
    const to = parts.node;
    const how = {
      asked: `node "${from}" has handed it over`,
      leaving: `node "${from}" is about to stop, and has handed it over`,
      restart: 'its controller has started again',
      wanted: `its controller, node "${from}", is gone or silent`,
    }[reason];
    const cause = `node "${to}" controls the vdisk: ${how}`;
    this.#emit({
      kind: 'controller-taken-over',
      severity: reason === 'wanted' ? 'warn' : 'info',
      cause,
      details: { from, to, term, reason },
    });
    if (this.group.options.replicationFactor > this.group.group!.members.length)
      this.#emit({
        kind: 'vdisk-available',
        severity: 'info',
        cause: `it is served, by ${this.group.group!.members.length} members`,
        details: { term },
      });
  }

  ended(term: number, reason: string): void {
    this.#emit({
      kind: 'controller-ended',
      severity: 'info',
      cause: `node "${this.group.parts.node}" controls the vdisk no longer: ${reason}`,
      details: { term, reason },
    });
  }

  alarm({ code, text }: Extract<Effect, { kind: 'alarm' }>): void {
    const kind = code === 'disk-failed' ? 'disk-failed' : 'replication-alarm';
    const action = code === 'disk-failed' ? 'replace the disk; the vdisk is served by its other members' : ALARM_ACTION;
    this.#emit({ kind, severity: 'error', cause: text, action, details: { code } });
  }

  recovered(historyId: number, seq: number, term: number): void {
    this.#emit({
      kind: 'vdisk-recovered',
      severity: 'error',
      cause: `it was recovered by force: history ${historyId} goes on from the copy on node "${this.group.parts.node}"; what only others had is lost`,
      action: 'check what is on it before it is used, then detach it and attach it anew',
      details: { history: historyId, seq, term },
    });
  }

  notRecovered(why: string): void {
    this.#emit({
      kind: 'vdisk-unavailable',
      severity: 'error',
      cause: `it cannot be recovered from the copy on node "${this.group.parts.node}": ${why}`,
      action: 'recover it from another one: gatepath vdisk recover --from NODE',
    });
  }

  repaired(offsetBytes: number, isKept: boolean): void {
    const place = { details: { offsetBytes } };
    if (isKept) this.#emit({ kind: 'rot-mended', severity: 'warn', cause: 'a damaged block was repaired from another replica', ...place });
    else {
      const cause = 'a damaged block could not be repaired: the disk does not keep it';
      this.#emit({ kind: 'rot-found', severity: 'error', cause, action: 'replace the disk', ...place });
    }
  }

  /** The record of the block store that begins with the block there. */
  refilled(offsetBytes: number): void {
    const cause = 'a damaged record of the block store, of 64 blocks, was written anew from what another replica has';
    this.#emit({ kind: 'rot-mended', severity: 'warn', cause, details: { offsetBytes } });
  }

  handOver(to: string, why: string): void {
    this.#emit({ kind: 'handover-asked', severity: 'info', subject: to, cause: `node "${to}" is asked to take it over: ${why}` });
  }

  /** A node is asked again and again while it does not answer: that is told once. */
  learner(member: MemberId): void {
    const node = nodeOfMember(member);
    const { group } = this.group;
    if (group === this.#learnersOf && this.#learners.has(member)) return;
    if (group !== this.#learnersOf) this.#learners.clear();
    this.#learnersOf = group;
    this.#learners.add(member);
    this.#emit({
      kind: 'learner-added',
      severity: 'info',
      subject: node,
      cause: `node "${node}" is to have a copy: it is brought up to the others`,
    });
  }

  resync(kind: 'resync-started' | 'resync-done' | 'resync-failed', member: MemberId, blocks: number): void {
    const node = nodeOfMember(member);
    const cause = {
      'resync-started': `the copy on node "${node}" is brought up from the extents: it lacks more than the log has`,
      'resync-done': `the copy on node "${node}" has been brought up, ${blocks} blocks were sent`,
      'resync-failed': `bringing up the copy on node "${node}" has ended early, after ${blocks} blocks; it goes on by itself`,
    }[kind];
    this.#emit({ kind, severity: kind === 'resync-failed' ? 'warn' : 'info', subject: node, cause, details: { blocks } });
  }

  /** After each event: who has come into the group that is controlled here, and who has gone. */
  follow(): void {
    const { leader } = this.group.replica.takeover;
    const now = this.group.group;
    const before = this.#members;
    this.#members = now;
    if (now === before || now === null || before === null || leader === null) return;
    for (const member of before.members)
      if (!now.members.includes(member)) this.#membership('member-removed', member, now, leader.removalReason);
    for (const member of now.members)
      if (!before.members.includes(member)) this.#membership('member-added', member, now, 'its copy is whole again');
  }

  #membership(kind: 'member-removed' | 'member-added', member: MemberId, { epoch, members }: Group, why: string): void {
    const { replicationFactor, minMembers } = this.group.options;
    const node = nodeOfMember(member);
    const isGone = kind === 'member-removed';
    const waits = members.length < minMembers;
    const state = waits ? 'writes wait until there are more' : `${members.length} of ${replicationFactor} copies are left`;
    this.#emit({
      kind,
      severity: isGone ? 'warn' : 'info',
      subject: node,
      cause: isGone ? `node "${node}" is no member any more: ${why}; ${state}` : `node "${node}" is a member: ${why}`,
      ...(isGone ? { action: `start node "${node}" again; another node takes its place where there is one` } : {}),
      details: { epoch, members: members.length },
    });
    if (isGone && waits)
      this.#emit({
        kind: 'vdisk-unavailable',
        severity: 'error',
        cause: `writes wait: ${members.length} members, and ${minMembers} are needed`,
        action: 'start the nodes that are missing',
      });
  }

  #emit(event: Draft): void {
    const { vdiskId, parts } = this.group;
    parts.events.emit({ ...event, vdiskId });
  }
}
