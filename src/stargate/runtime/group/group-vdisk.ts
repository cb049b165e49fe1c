import assert from 'node:assert/strict';
import type { SessionListener, SessionRequest } from '../../../wire/serving.js';
import type { EntryList } from '../../../wire/peers.js';
import { bootedMember, nodeOfMember, type MemberId, type ReplicaMessage } from '../../../wire/replicate.js';
import { Controller, type Durability } from '../../core/controller.js';
import { NoRoom, type EntryDraft, type LayerId, type LogOwner } from '../../core/ports.js';
import type { CasOutcome, Effect, Group, RecoveredLog, ReplicaEvent, TermPromise } from '../../core/replication/effects.js';
import type { Entry } from '../../core/replication/entry.js';
import type { Leader } from '../../core/replication/leader.js';
import type { Message } from '../../core/replication/messages.js';
import { Replica } from '../../core/replication/replica.js';
import type { OplogStream, StreamVdiskLog } from '../../oplog/index.js';
import { BlockCopies } from './block-copies.js';
import { BlockRepair } from './block-repair.js';
import { ConfirmRounds } from './confirm-rounds.js';
import { draftedBody, receivedEntry } from './entries.js';
import { EntrySender, type EntrySource } from './entry-sender.js';
import { GroupEvents } from './group-events.js';
import { GroupLog } from './group-log.js';
import { Handover } from './handover.js';
import { OwnEntries } from './own-entries.js';
import type { GroupParts } from './parts.js';
import { ReplicaLog, withEnd, type ReplicaLogHost } from './replica-log.js';
import { ReplicaState, type ReplicaStateOptions } from './replica-state.js';
import { Resyncs } from './resyncs.js';
import { WaitingOpens } from './waiting-opens.js';

export interface GroupVdiskOptions {
  readonly parts: GroupParts;
  readonly vdiskId: string;
  /** Its size, as the metadata has it. */
  readonly toldBytes: number;
  readonly layer: LayerId;
  readonly replicationFactor: number;
  readonly minMembers: number;
  readonly durability: Durability;
  readonly stream: OplogStream;
  readonly log: StreamVdiskLog;
  readonly recovered: RecoveredLog;
  readonly state: ReplicaStateOptions;
  /** Whom the metadata named as controller last. */
  readonly controllerNode: string;
}

/**
 * One replica of a vdisk on this node: runs the effects of its machines (`core/replication`), applies what is committed, and has a controller
 * while it holds the office. One owner, one order of events: an event that comes while effects are being run has its own run behind them.
 */
export class GroupVdisk implements ReplicaLogHost, EntrySource {
  readonly replica: Replica;
  readonly replicaLog: ReplicaLog;
  readonly opens: WaitingOpens;
  readonly resyncs: Resyncs;
  readonly handover: Handover;
  readonly copies: BlockCopies;
  readonly repair: BlockRepair;
  /** Who this is in its group; with `durability: flush` this start of the node (rule 27). */
  readonly self: MemberId;
  readonly own: OwnEntries;
  readonly events: GroupEvents;
  readonly rounds = new ConfirmRounds(this);
  readonly local: ReplicaState;
  controller: Controller | null = null;
  controllerNode: string;
  /** Those that the metadata named last. */
  memberNodes: readonly string[] = [];
  /** Since when the record has had no place for this replica, and enough others; −1: it has one, or is being brought up. */
  surplusSinceMs = -1;
  /** Of the candidates for a missing copy, the one that comes next. */
  learnerTurn = 0;
  readonly #groupLog = new GroupLog(this);
  readonly #senders = new Map<MemberId, EntrySender>();
  /** Payloads of the message at hand: seq → place. */
  readonly #arrived = new Map<number, number>();
  #effects: Effect[] = [];
  #unpersisted = 0;
  #isRunning = false;
  #isRefused = false;
  #prepared: Entry | null = null;
  #leader: Leader | null = null;
  #promise: TermPromise | null;
  #nextRepairMs = 0;
  #isStopped = false;
  #notedMs = 0;

  constructor(readonly options: GroupVdiskOptions) {
    const { parts, stream, log, recovered, replicationFactor, minMembers, durability } = options;
    const { newNonce, ports } = parts;
    const self = (this.self = durability === 'flush' ? bootedMember(parts.self, parts.boot) : parts.self);
    this.controllerNode = options.controllerNode;
    this.own = new OwnEntries(parts);
    this.replicaLog = new ReplicaLog(stream, log, ports.arena, ports.controlScratch, this);
    const makeEntry = (): Entry => this.#takePrepared();
    this.replica = new Replica(
      { self, historyId: log.historyId, replicationFactor, minMembers, durability, makeEntry, newNonce, mutations: parts.mutations },
      recovered,
    );
    this.copies = new BlockCopies(this);
    this.repair = new BlockRepair(this);
    this.local = new ReplicaState(this, options.state);
    this.opens = new WaitingOpens(this);
    this.resyncs = new Resyncs(this);
    this.handover = new Handover(this);
    this.events = new GroupEvents(this);
    this.#promise = recovered.promise;
  }

  get parts(): GroupParts {
    return this.options.parts;
  }

  get vdiskId(): string {
    return this.options.vdiskId;
  }

  get stream(): OplogStream {
    return this.options.stream;
  }

  get log(): StreamVdiskLog {
    return this.options.log;
  }

  /** Its members acknowledge what is in their memory: each start of a node is another one. */
  get isForgetful(): boolean {
    return this.options.durability === 'flush';
  }

  get group(): Group | null {
    return this.replica.takeover.leader?.changes.group ?? null;
  }

  // ---------------------------------------------------------------- events

  step(event: ReplicaEvent): void {
    if (this.#isStopped) return;
    this.#queue(this.replica.step(event));
    this.#run();
  }

  onMessage(node: MemberId, message: ReplicaMessage, list: EntryList): void {
    const { boots } = message;
    // For a start of this node that has ended.
    if (this.isForgetful && boots !== undefined && boots.to !== this.parts.boot) return;
    const from = this.isForgetful && boots !== undefined ? bootedMember(node, boots.from) : node;
    if (message.kind === 'copies')
      return this.local.isRestarting || this.#isStopped ? undefined : this.copies.onMessage(from, message, list);
    if (this.local.isRestarting || (this.replica.isDeaf && message.kind !== 'letGo')) return;
    if (message.kind === 'resync') return this.resyncs.onMessage(from, message, list);
    if (message.kind !== 'append' && message.kind !== 'entries')
      return this.step({ kind: 'message', message: { ...message, from } as Message });
    const entries: Entry[] = [];
    for (let i = 0; i < list.count; i++) {
      const entry = receivedEntry(this.log, this.parts.ports.arena, list.headerOffset[i]!, list.payloadOffset[i]!, list.payloadBytes[i]!);
      if (entry === null) return this.parts.say('error', 'an entry came damaged from another node', { vdiskId: this.vdiskId, from });
      this.#arrived.set(entry.seq, list.payloadOffset[i]!);
      entries.push(entry);
    }
    this.step({ kind: 'message', message: { ...message, from, entries } as Message });
    this.#arrived.clear();
  }

  /** Whom the record names; one that it has not named before is given time to be heard of. */
  noteController(node: string): void {
    if (node === this.controllerNode) return;
    this.controllerNode = node;
    this.opens.controllerChanged();
    this.#notedMs = this.parts.nowMs;
  }

  /** When the controller that is known was last known to live. */
  get heardMs(): number {
    return Math.max(this.replica.member.heardMs, this.#notedMs);
  }

  onTick(nowMs: number): void {
    this.step({ kind: 'tick', nowMs });
    this.opens.onTick(nowMs);
    this.resyncs.onTick(nowMs);
    this.copies.onTick(nowMs);
    this.local.forget();
    if (this.controller !== null && nowMs >= this.#nextRepairMs) this.#nextRepairMs = nowMs + this.parts.repair(this);
  }

  onCas(nonce: string, outcome: CasOutcome): void {
    this.step({ kind: 'casResult', nonce, outcome });
  }

  onDurable(): void {
    this.parts.touch(this);
  }

  /** At the end of a turn in which more has become durable. */
  onTurnEnd(): void {
    this.step({ kind: 'durable', ticket: this.replicaLog.durableTicket });
    this.rounds.onTurnEnd();
  }

  onLogFailed(errno: number): void {
    this.step({ kind: 'ioFailed' });
    this.parts.onLogFailed(errno);
  }

  onLogRoom(): void {
    this.retry();
  }

  /** Something that a refused entry waited for may have come. */
  retry(): void {
    if (this.#isStopped || !this.#isRefused || this.#isRunning) return;
    this.#run();
  }

  // ---------------------------------------------------------------- effects

  #queue(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'persist') this.#unpersisted++;
      this.#effects.push(effect);
    }
  }

  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    do {
      while (this.#effects.length > 0) {
        const effects = this.#effects;
        this.#effects = [];
        for (const effect of effects) this.#carryOut(effect);
      }
      this.#follow();
    } while (this.#effects.length > 0);
    this.#isRunning = false;
  }

  #carryOut(effect: Effect): void {
    const { parts, vdiskId } = this;
    switch (effect.kind) {
      case 'send':
        return this.#send(effect.to, effect.message);
      case 'persist': {
        this.#unpersisted--;
        const { record } = effect;
        const payloadOffset = record.kind === 'entry' ? (this.#arrived.get(record.entry.seq) ?? 0) : 0;
        return this.replicaLog.persist(withEnd(record, this.replica.member.log), payloadOffset);
      }
      case 'cas':
        return parts.cas(vdiskId, effect.expectedEpoch, effect.group);
      case 'readGroup':
        return parts.readGroup(vdiskId, effect.readId);
      case 'serving':
        return this.events.serving(effect.term);
      case 'resigned':
        // The sessions are sent there: they need not look for it.
        if (effect.follower !== null && this.controllerNode === parts.node) this.noteController(nodeOfMember(effect.follower));
        return this.events.ended(effect.term, effect.reason);
      case 'alarm':
        return this.events.alarm(effect);
      case 'resync':
        return this.resyncs.start(effect.member);
      case 'discard':
        return parts.discard(this);
      case 'confirmed':
        return this.rounds.onConfirmed(effect.term);
      case 'admitted':
      case 'held':
      case 'committed':
        return;
    }
  }

  #send(to: MemberId, message: Message): void {
    if (message.kind === 'append' || message.kind === 'entries') return this.senderTo(to).send(message);
    const { from: _from, ...rest } = message;
    this.parts.sender.send(to, this.vdiskId, rest, null);
  }

  senderTo(to: MemberId): EntrySender {
    let sender = this.#senders.get(to);
    if (sender === undefined) this.#senders.set(to, (sender = new EntrySender(this, to)));
    return sender;
  }

  isHere(entry: Entry): boolean {
    const { log } = this.replica.member;
    return entry.seq > log.base.seq && entry.seq <= log.lastSeq && log.at(entry.seq) === entry;
  }

  placeOf(seq: number): number {
    return this.own.placeOf(seq);
  }

  /** What follows from where the machines stand now. */
  #follow(): void {
    const { leader } = this.replica.takeover;
    if (leader !== null && leader !== this.#leader) this.#tellClosed();
    this.#leader = leader;
    this.events.follow();
    this.#followPromise();
    const isServing = leader?.isServing === true;
    if (this.controller !== null && (!isServing || leader.term !== this.controller.state.term)) this.#endController();
    this.local.apply();
    if (isServing && this.controller === null) this.#startController(leader.term);
    if (this.#isRefused && this.#mayAppend()) {
      this.#isRefused = false;
      this.controller?.onLogSpace();
    }
    this.opens.follow();
  }

  /** A promise to another node: that one is in control, or about to be. */
  #followPromise(): void {
    const { promise } = this.replica.member;
    if (promise === this.#promise) return;
    this.#promise = promise;
    if (promise !== null && promise.controller !== this.self) this.noteController(nodeOfMember(promise.controller));
  }

  /** As the record was seen last; before that it may be one. */
  get isMember(): boolean {
    return this.memberNodes.length === 0 || this.memberNodes.includes(this.parts.node);
  }

  /** Links that broke before this term are not told again. */
  #tellClosed(): void {
    for (const node of this.group!.members.map(nodeOfMember))
      if (node !== this.parts.node && this.parts.isClosed(node)) this.#queue(this.replica.step({ kind: 'nodeClosed', node }));
  }

  // ---------------------------------------------------------------- the controller here

  #startController(term: number): void {
    const { parts } = this;
    assert.equal(this.local.appliedSeq, this.log.lastSeq, 'a controller starts when all is committed');
    const state = this.local.controllerBegins(term);
    const ports = { ...parts.ports, log: this.#groupLog };
    this.controller = new Controller(ports, state, this.log, parts.nextCacheOwner(), this.local.host, parts.controllerMutations);
    this.controllerNode = parts.node;
    const { lossTerm = 0 } = this.group!;
    if (lossTerm > state.sessions.lossTerm) this.controller.tellOfLoss(lossTerm);
    if (this.local.isResized) parts.onSized(this.controller);
  }

  /** Nobody is answered: outcomes are unknown. What it had appended may still be committed, by whoever follows. */
  #endController(): void {
    const controller = this.controller!;
    this.controller = null;
    this.#isRefused = false;
    controller.stop(this.controllerNode === this.parts.node ? undefined : this.controllerNode);
    this.parts.ports.cache.dropOwner(controller.cacheOwner);
    this.own.end(this.replica.member.log);
    this.local.controllerEnds(controller.committedSeq);
  }

  /** A head may be written while entries wait for the room that it makes; not while a cut does: the log's end is another one then than the machines know. */
  get mayHead(): boolean {
    return this.#unpersisted === 0 && this.replica.member.log.holds(this.log.lastSeq, this.log.lastHash);
  }

  /** All that the machines have said is durable. */
  get hasRecorded(): boolean {
    return this.mayRecord && this.replicaLog.isQuiet;
  }

  /** Nothing waits that a record now would overtake. */
  get mayRecord(): boolean {
    return this.#unpersisted === 0 && !this.replicaLog.isBlocked;
  }

  #mayAppend(): boolean {
    return this.replica.takeover.leader?.mayWrite === true && this.mayRecord;
  }

  /** For the controller here: see {@link GroupLog}. */
  appendOwn(draft: EntryDraft, owner: LogOwner, tag: number): number {
    if (this.controller === null || !this.#mayAppend()) return this.#refuse(NoRoom.busy);
    const { log, parts } = this;
    const bytes = draft.payload.totalBytes;
    const offset = bytes > 0 ? this.own.reserve(bytes) : -1;
    if (bytes > 0 && offset < 0) return this.#refuse(NoRoom.busy);
    const prevHash = log.lastHash;
    const lsn = this.replicaLog.appendOwn(draft);
    if (lsn < 0) {
      if (offset >= 0) parts.giveRetained(offset);
      return this.#refuse(lsn);
    }
    this.own.add(draft, offset, owner, tag);
    const { seq, creationTerm } = draft;
    const body = draftedBody(draft, lsn, parts.ports.arena, offset);
    const crc = bytes > 0 ? log.lastPayloadCrc : 0;
    this.#prepared = { seq, creationTerm, crc, prevHash, hash: log.lastHash, body };
    // Its own record is in the log already.
    const effects = this.replica.step({ kind: 'write', body: { crc, body } });
    this.#queue(effects.filter(effect => effect.kind !== 'persist'));
    assert(this.#prepared === null, 'the machines have taken the entry');
    // Not now: the controller has still to note what it has appended.
    if (!this.#isRunning) parts.touch(this);
    return lsn;
  }

  #takePrepared(): Entry {
    const entry = this.#prepared!;
    this.#prepared = null;
    return entry;
  }

  #refuse(why: number): number {
    this.#isRefused = true;
    return why;
  }

  // ---------------------------------------------------------------- sessions

  openSession(request: SessionRequest, listener: SessionListener): void {
    if (this.controller !== null) this.controller.openSession(request, listener);
    else this.opens.addSession(request, listener);
  }

  closeSession(request: SessionRequest, done: () => void): void {
    if (this.controller !== null) this.controller.closeSession(request, done);
    else done();
  }

  // ---------------------------------------------------------------- life

  /** The shard stops, or the replica is removed: sessions go elsewhere, what is in flight has an unknown outcome. */
  stop(): void {
    this.opens.refuseAll();
    this.resyncs.stop();
    this.copies.stop();
    this.repair.stop();
    if (this.controller !== null) this.#endController();
    this.#isStopped = true;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** No office is held or wanted here. */
  get isIdle(): boolean {
    return !this.#isStopped && this.replica.takeover.state.kind === 'idle';
  }

  /** After the stop: nothing of it is on its way to the log or the extents. */
  get isQuiet(): boolean {
    return this.#isStopped && this.replicaLog.isQuiet && !this.repair.isBusy;
  }
}
