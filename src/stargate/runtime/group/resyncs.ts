import type { EntryList } from '../../../wire/peers.js';
import type { MemberId, ReplicaMessage } from '../../../wire/replicate.js';
import type { GroupVdisk } from './group-vdisk.js';
import { RESYNC_HOLD_MS, RESYNC_TIMEOUT_MS } from './limits.js';
import { decodeResync } from '../../core/replication/resync-messages.js';
import { ResyncSource, type ResyncProgress } from './resync-source.js';
import { ResyncTarget } from './resync-target.js';

/** The resyncs of one replica: one that it gives, as controller, or one that it is given. */
export class Resyncs {
  #source: ResyncSource | null = null;
  #target: ResyncTarget | null = null;
  #targetMs = 0;
  /** After a resync the log is kept a moment longer: until the learner has begun to follow it. */
  #holdSeq = Infinity;
  #holdUntilMs = 0;
  #broughtUp: MemberId | null = null;

  constructor(readonly group: GroupVdisk) {}

  get isTarget(): boolean {
    return this.#target !== null;
  }

  /** The log is kept from behind this entry on. */
  get holdSeq(): number {
    return this.#source?.holdSeq ?? this.#holdSeq;
  }

  get progress(): ResyncProgress | null {
    return this.#source?.progress ?? null;
  }

  /** Its log lacks what this one has no more. */
  start(member: MemberId): void {
    const { group } = this;
    const { leader } = group.replica.takeover;
    if (this.#source !== null || leader === null || !group.parts.beginResync()) return;
    const { parts } = group;
    group.events.resync('resync-started', member, 0);
    const source = new ResyncSource(group, member, leader.term, isDone => {
      this.#source = null;
      this.#holdSeq = source.holdSeq;
      parts.endResync();
      group.events.resync(isDone ? 'resync-done' : 'resync-failed', member, source.sentBlocks);
      this.#holdUntilMs = isDone ? parts.nowMs + RESYNC_HOLD_MS : 0;
      this.#broughtUp = member;
      if (isDone) group.step({ kind: 'addMember', member });
    });
    this.#source = source;
    source.start();
  }

  onMessage(from: MemberId, { term, data }: Extract<ReplicaMessage, { kind: 'resync' }>, list: EntryList): void {
    const message = decodeResync(data);
    const { member } = this.group.replica;
    const { promise } = member;
    if (message === null) return this.group.parts.say('warn', 'a message of a resync is none', { vdiskId: this.group.vdiskId, from });
    if (message.kind === 'ok') {
      if (this.#source?.member === from && this.#source.term === term) this.#source.onReply(message);
      return;
    }
    // Who gives it is the controller whose term this replica has promised.
    if (promise?.term !== term || promise.controller !== from || !this.#isOpen) return;
    // It says nothing else meanwhile, perhaps.
    member.heardMs = this.group.parts.nowMs;
    if (message.kind === 'begin') this.#target = new ResyncTarget(this.group, from, term, message.id);
    if (this.#target?.id !== message.id) return;
    this.#targetMs = this.group.parts.nowMs;
    this.#target.onRequest(message, list);
    if (message.kind === 'finish') this.#target = null;
  }

  /** A replica that is about to take over is nobody's to bring up. One that reads the record, to find out whether it may, is: what is not heard does not come again. */
  get #isOpen(): boolean {
    const office = this.group.replica.takeover.state.kind;
    return office === 'idle' || office === 'reading';
  }

  onTick(nowMs: number): void {
    this.#source?.onTick(nowMs);
    if (this.#source !== null && this.group.replica.takeover.leader?.term !== this.#source.term) this.#source.end(false);
    if (this.#target !== null && nowMs - this.#targetMs > RESYNC_TIMEOUT_MS * 2) this.#giveUp(this.#target);
    if (this.#source === null && (nowMs >= this.#holdUntilMs || this.#isFollowing)) this.#holdSeq = Infinity;
  }

  /** The leader itself knows from here on what the learner still needs. Kept for longer, a log that is small for what is written would be full. */
  get #isFollowing(): boolean {
    const { leader } = this.group.replica.takeover;
    return this.#broughtUp !== null && leader?.peer(this.#broughtUp)?.isPlaced === true;
  }

  #giveUp(target: ResyncTarget): void {
    this.#target = null;
    this.group.local.extentsAhead(target.aheadSeq);
  }

  stop(): void {
    this.#source?.end(false);
  }
}
