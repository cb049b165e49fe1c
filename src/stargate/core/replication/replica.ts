import assert from 'node:assert/strict';
import { Departure } from './departure.js';
import type { Effect, RecoveredLog, ReplicaConfig, ReplicaContext, ReplicaEvent } from './effects.js';
import type { LogBase } from './entry.js';
import { Member } from './member.js';
import type { Message } from './messages.js';
import { Surplus } from './surplus.js';
import { Takeover } from './takeover.js';

/**
 * One node's part in the group of one vdisk: its replica of the log, and the office of controller while it holds it. One owner, one order of
 * events; what follows from an event comes back as effects, in the order in which they are to be begun.
 */
export class Replica {
  readonly member: Member;
  readonly takeover: Takeover;
  readonly departure: Departure;
  readonly surplus: Surplus;
  readonly #context: ReplicaContext;
  /** Of this history nothing is heard or done any more. */
  #isOver = false;

  constructor(config: ReplicaConfig, recovered: RecoveredLog) {
    this.#context = { ...config, nowMs: 0, drained: new Set(), removals: new Map(), out: [] };
    this.member = new Member(this.#context, recovered);
    this.takeover = new Takeover(this.#context, this.member);
    this.departure = new Departure(this.#context, this.member, this.takeover);
    this.surplus = new Surplus(this.#context, this.member, this.takeover);
  }

  get historyId(): number {
    return this.#context.historyId;
  }

  /** It takes nothing from others now: it would become a learner again while its node stops, or acknowledge what it is about to cut. */
  get isDeaf(): boolean {
    const { departure, surplus } = this;
    const isAsking = surplus.isAsking && this.#context.mutations.hearsWhileAsking !== true;
    return departure.isOut || this.#isOver || surplus.isGone || isAsking;
  }

  /** A new history of the vdisk begins with this replica, behind `base`: all that its log had is in the extents, and that is durable. */
  beginHistory(historyId: number, base: LogBase): void {
    this.#context.historyId = historyId;
    this.member.restart(base);
    this.#isOver = false;
  }

  step(event: ReplicaEvent): Effect[] {
    this.#step(event);
    this.takeover.follow();
    this.departure.follow();
    this.surplus.follow();
    this.#check();
    return this.#context.out.splice(0);
  }

  #step(event: ReplicaEvent): void {
    const { member, takeover } = this;
    switch (event.kind) {
      case 'message':
        return this.#message(event.message);
      case 'durable':
        return member.durable(event.ticket);
      case 'ioFailed':
        return member.ioFailed();
      case 'casResult':
        return takeover.casResult(event.nonce, event.outcome);
      case 'group':
        return takeover.groupRead(event.readId, event.group, event.seen);
      case 'tick':
        this.#context.nowMs = event.nowMs;
        return takeover.tick();
      case 'takeOver':
        if (!this.departure.isLeaving && !this.#isOver && !this.surplus.isGone) takeover.takeOver(event.insteadOf);
        return;
      case 'handOver':
        return takeover.leader?.handOver(event.to, false);
      case 'leave':
        return this.departure.leave();
      case 'surplus':
        return this.surplus.ask(event.controller, event.what);
      case 'drained':
        this.#context.drained = new Set(event.nodes);
        return;
      case 'removals':
        this.#context.removals = event.removals;
        return;
      case 'recordSeen':
        return takeover.leader?.recordSeen(event.term);
      case 'addMember':
        return takeover.leader?.addLearner(event.member);
      case 'nodeClosed':
        return takeover.leader?.nodeClosed(event.node);
      case 'alive':
        return takeover.leader?.alive(event.members);
      case 'cutTail':
        if (takeover.state.kind === 'idle' && member.hasUncommitted) member.cutUncommitted();
        return;
      case 'endHistory':
        this.#isOver = true;
        takeover.resign('the vdisk has another history now');
        return member.takeAll();
      case 'confirm':
        if (takeover.state.kind === 'serving') takeover.state.leader.confirm();
        return;
      case 'write':
        if (takeover.state.kind === 'serving') return takeover.state.leader.write(event.body);
        this.#context.out.push({ kind: 'admitted', seq: 0, body: event.body });
    }
  }

  #message(message: Message): void {
    if (message.kind === 'letGo' && message.isGranted) return this.surplus.granted(message);
    if (this.isDeaf) return;
    switch (message.kind) {
      case 'seal':
      case 'append':
      case 'cut':
      case 'watermark':
      case 'fetch':
      case 'confirm':
        return this.member.step(message);
      case 'sealReply':
      case 'appendAck':
      case 'fenced':
      case 'needSeal':
      case 'entries':
      case 'confirmed':
      case 'leave':
      case 'letGo':
        return this.takeover.leader?.step(message);
      case 'standIn':
        if (!this.departure.isLeaving) this.takeover.standIn(message);
        return;
      case 'leaveReply':
        return this.departure.replied(message);
    }
  }

  #check(): void {
    this.member.check();
    const { state, leader } = this.takeover;
    leader?.check();
    if (state.kind === 'serving') assert(state.leader.isServing && this.member.isWorking);
    if (state.kind === 'equalizing') assert(state.leader.committedSeq <= this.member.log.base.seq, 'commits before it serves');
  }
}
