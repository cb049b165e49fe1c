import type { Engine } from 'uring-engine';
import type { EventSink } from '../../../base/events.js';
import type { EntryList, PeerListener, PeerNode, PeerSender } from '../../../wire/peers.js';
import { idOf } from '../../../meta/groups.js';
import { baseOfMember, bootOfMember, nodeOfMember, type MemberId, type ReplicaMessage } from '../../../wire/replicate.js';
import type { TransferBuffers } from '../../cache/transfer-buffers.js';
import type { ControllerHost, ControllerMutations, ControllerPorts } from '../../core/controller.js';
import type { CasOutcome, Group, Removals, ReplicationMutations, Seen } from '../../core/replication/effects.js';
import type { OplogStream } from '../../oplog/index.js';
import type { RotCounters } from '../rot.js';
import type { SpaceRules } from '../space-rules.js';
import { HeaderWriter } from './entries.js';
import type { DamagedReplica } from './damaged-replica.js';
import type { GroupVdisk } from './group-vdisk.js';
import { CLOSED_MS, DRAIN_INTERVAL_MS, GROUP_TICK_MS, MAX_RESYNCS, SURPLUS_INTERVAL_MS } from './limits.js';
import type { GroupParts } from './parts.js';
import { idOfNode, Redundancy, type LivingNode } from './redundancy.js';

export type { LivingNode };

/** What the replicas of a shard need of the rest of the process. */
export interface GroupPorts {
  readonly self: MemberId;
  /** Which start of the node this is. */
  readonly boot: number;
  readonly sender: PeerSender;
  /** `transferBufferBytes(RETAINED_BUFFERS)` of the arena. */
  readonly retained: TransferBuffers;
  /** Place of MAX_APPEND_ENTRIES entry headers in the arena. */
  readonly headersOffset: number;
  newNonce(): string;
  /** Answered by {@link Groups.onCas}. */
  cas(vdiskId: string, expectedEpoch: number, group: Group): void;
  /** Answered by {@link Groups.onGroup}. */
  readGroup(vdiskId: string, readId: number): void;
  /** A copy that its group has no place for, while others hold the vdisk as often as it is to be kept, is removed after this time. */
  readonly keepSurplusMs: number;
  /** A controller wants this node to hold a replica of a vdisk of which it has none. */
  wanted(vdiskId: string): void;
  readonly events: EventSink;
  say(level: 'info' | 'warn' | 'error', message: string, fields: Readonly<Record<string, unknown>>): void;
}

export interface GroupsOptions {
  readonly engine: Engine;
  readonly ports: Omit<ControllerPorts, 'log'>;
  readonly group: GroupPorts;
  readonly mutations: ReplicationMutations;
  readonly controllerMutations: ControllerMutations;
  readonly nextCacheOwner: () => number;
  readonly onCommitted: (group: GroupVdisk) => void;
  readonly host: ControllerHost;
  readonly onDataFailed: (what: string, vdiskId: string) => void;
  readonly rot: RotCounters;
  readonly isOutOfSpace: (stream: OplogStream) => boolean;
  readonly rules: SpaceRules;
  readonly isDraining: (group: GroupVdisk) => boolean;
  /** Nobody needs it: it is to be removed, once the caller has returned. */
  readonly discard: (group: GroupVdisk) => void;
  readonly after: (delayNs: number, call: () => void) => void;
}

/** Groups' turn ends before the log's, which then sends what they have appended. */
const TURN_END_ORDER = 5;
const NS_PER_MS = 1e6;

/** The replicas of one shard: messages to and from other nodes, the time, and what they share. */
export class Groups implements PeerListener {
  readonly all = new Map<string, GroupVdisk>();
  /** Replicas whose logs are damaged: not among them, until they are whole. */
  readonly damaged = new Map<string, DamagedReplica>();
  readonly parts: GroupParts;
  readonly #client: number;
  /** Nodes of which a link has broken → when. */
  readonly #closed = new Map<string, number>();
  readonly #redundancy: Redundancy;
  #touched: GroupVdisk[] = [];
  #isEndingTurn = false;
  #isStopped = false;
  #isLeaving = false;
  #draining: ReadonlySet<string> = new Set();
  #nextDrainMs = 0;
  #nextRemovalMs = 0;
  #nextSurplusMs = 0;
  /** Somebody was refused for want of memory, perhaps, and some came back. */
  #hasRoom = false;
  #resyncs = 0;

  constructor(readonly options: GroupsOptions) {
    const { engine, ports, group } = options;
    this.#client = engine.register({ onCompletion: () => this.#tick() });
    engine.atTurnEnd(TURN_END_ORDER, () => this.#turnEnd());
    this.#redundancy = new Redundancy(group.self, group.keepSurplusMs);
    this.parts = this.#makeParts(new HeaderWriter(ports.arena, group.headersOffset, HEADERS));
    engine.timer(GROUP_TICK_MS * NS_PER_MS, this.#client, 0);
  }

  #makeParts(headers: HeaderWriter): GroupParts {
    const { options } = this;
    const { engine, ports, group, mutations, controllerMutations } = options;
    const nowMs = (): number => Math.floor(engine.nowNs / NS_PER_MS);
    return {
      self: group.self,
      boot: group.boot,
      node: nodeOfMember(group.self),
      ports,
      sender: { send: (to, vdiskId, message, entries) => this.#send(to, vdiskId, message, entries) },
      retained: group.retained,
      headers,
      mutations,
      controllerMutations,
      get nowMs() {
        return nowMs();
      },
      startedMs: nowMs(),
      newNonce: () => group.newNonce(),
      nextCacheOwner: () => options.nextCacheOwner(),
      giveRetained: offset => {
        group.retained.give(offset);
        this.#hasRoom = true;
      },
      otherNodes: () => this.#redundancy.nodes.map(idOfNode),
      touch: one => {
        if (!this.#touched.includes(one)) this.#touched.push(one);
      },
      isClosed: node => this.#isClosed(node),
      cas: (vdiskId, expectedEpoch, next) => group.cas(vdiskId, expectedEpoch, next),
      readGroup: (vdiskId, readId) => group.readGroup(vdiskId, readId),
      onCommitted: one => options.onCommitted(one),
      onLogFailed: errno => options.host.onLogFailed(errno),
      onDataFailed: (what, vdiskId) => options.onDataFailed(what, vdiskId),
      onBadBlock: (vdiskId, offsetBytes, errno, lengthBytes) => options.host.onBadBlock(vdiskId, offsetBytes, errno, lengthBytes),
      onSized: controller => options.host.onSized?.(controller),
      rot: options.rot,
      isOutOfSpace: stream => options.isOutOfSpace(stream),
      ruleOf: vdiskId => options.rules.of(vdiskId),
      repair: one => this.#redundancy.repair(one),
      standInFor: one => this.#standInFor(one),
      beginResync: () => this.#resyncs < MAX_RESYNCS && ++this.#resyncs > 0,
      endResync: () => void this.#resyncs--,
      isDraining: one => options.isDraining(one),
      discard: one => options.discard(one),
      after: (delayMs, call) => options.after(delayMs * NS_PER_MS, call),
      events: group.events,
      say: (level, message, fields) => group.say(level, message, fields),
    };
  }

  /** To a member that is a start of its node it is said which one is meant. */
  #send(to: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList | null): boolean {
    const { sender, boot } = this.options.group;
    const toBoot = bootOfMember(to);
    if (toBoot === 0) return sender.send(to, vdiskId, message, entries);
    return sender.send(baseOfMember(to), vdiskId, { ...message, boots: { from: boot, to: toBoot } }, entries);
  }

  // ---------------------------------------------------------------- replicas

  add(group: GroupVdisk): void {
    this.all.set(group.vdiskId, group);
    group.step({ kind: 'drained', nodes: [...this.#draining] });
    group.step({ kind: 'removals', removals: this.#redundancy.removals });
    // What the record names is this node, and its term ended with its process: it has to be won again (rule 11).
    if (group.controllerNode === this.parts.node) group.step({ kind: 'takeOver', insteadOf: this.parts.node });
    if (this.#isLeaving) group.step({ kind: 'leave' });
  }

  /** False: something of it is on its way to the log still; ask again. */
  endDamaged(vdiskId: string): boolean {
    const damaged = this.damaged.get(vdiskId);
    damaged?.stop();
    if (damaged?.isQuiet === false) return false;
    this.damaged.delete(vdiskId);
    return true;
  }

  remove(group: GroupVdisk): void {
    group.stop();
    this.all.delete(group.vdiskId);
  }

  /** The process is about to stop: others take over what is controlled here, and go on without these replicas. */
  leave(): void {
    this.#isLeaving = true;
    for (const group of this.all.values()) group.step({ kind: 'leave' });
  }

  /** Somebody has been asked, and has not answered yet. */
  get isDeparting(): boolean {
    return [...this.all.values()].some(group => group.replica.departure.isUnderWay);
  }

  stop(): void {
    this.#isStopped = true;
    for (const group of [...this.all.values(), ...this.damaged.values()]) group.stop();
  }

  // ---------------------------------------------------------------- from the main thread

  setNodes(nodes: readonly PeerNode[]): void {
    this.#redundancy.nodes = nodes;
  }

  /** Nodes that are to control nothing. This one hands over what it has, again and again: a takeover may have brought it more. */
  setDraining(nodes: readonly string[]): void {
    if (nodes.length === this.#draining.size && nodes.every(node => this.#draining.has(node))) return;
    const wasDraining = this.#draining.has(this.parts.node);
    this.#draining = new Set(nodes);
    for (const group of this.all.values()) group.step({ kind: 'drained', nodes });
    const isDraining = this.#draining.has(this.parts.node);
    if (isDraining === wasDraining) return;
    const { controlled } = this;
    const cause = isDraining
      ? `the node is drained: others take over its ${controlled} vdisks of this shard`
      : 'the node does its full duty again';
    this.parts.events.emit({
      kind: isDraining ? 'node-draining' : 'node-undrained',
      severity: 'info',
      vdiskId: null,
      cause,
      details: { controlled },
    });
    this.#nextDrainMs = 0;
  }

  /** Nodes that are removed from the cluster. */
  setRemovals(removals: Removals): void {
    if (removals.size === 0 && this.#redundancy.removals.size === 0) return;
    this.#redundancy.removals = removals;
    for (const group of this.all.values()) group.step({ kind: 'removals', removals });
  }

  /** Nobody may want a vdisk whose controller is gone for good: so it is not left to those who do. */
  #followRemoved(nowMs: number): void {
    if (this.#redundancy.removals.size === 0 || nowMs < this.#nextRemovalMs || this.#isLeaving) return;
    this.#nextRemovalMs = nowMs + DRAIN_INTERVAL_MS;
    for (const group of this.all.values()) {
      const { controllerNode } = group;
      if (controllerNode === this.parts.node || !this.#redundancy.removals.has(controllerNode) || this.#redundancy.isLiving(controllerNode))
        continue;
      if (!group.opens.isControllerAlive(nowMs) && this.#standInFor(group) === null)
        group.step({ kind: 'takeOver', insteadOf: controllerNode });
    }
  }

  get controlled(): number {
    return [...this.all.values()].filter(({ controller }) => controller !== null).length;
  }

  /** A planned handover, unless that node is to control nothing. */
  handOver(vdiskId: string, toNode: string): void {
    if (!this.#draining.has(toNode)) this.all.get(vdiskId)?.handover.start(toNode, 'a datapath wishes it nearer');
  }

  #drain(nowMs: number): void {
    if (nowMs < this.#nextDrainMs || !this.#draining.has(this.parts.node) || this.#isLeaving) return;
    this.#nextDrainMs = nowMs + DRAIN_INTERVAL_MS;
    for (const group of this.all.values()) {
      const to = group.replica.takeover.leader?.successor() ?? null;
      if (to !== null && !this.#draining.has(nodeOfMember(to))) group.handover.start(nodeOfMember(to), 'its node is drained');
    }
  }

  /** While this node is drained: another member, that lives and is not drained. It is to take over from a silent controller. */
  #standInFor({ memberNodes, controllerNode }: GroupVdisk): string | null {
    const { node } = this.parts;
    if (!this.#draining.has(node)) return null;
    const canServe = (other: string): boolean => this.#redundancy.isLiving(other) && !this.#draining.has(other) && !this.#isClosed(other);
    return memberNodes.find(other => other !== node && other !== controllerNode && canServe(other)) ?? null;
  }

  /** Who says that it lives: a controller that hears of none of them is cut off itself (rule 9). */
  setLiving(living: readonly LivingNode[]): void {
    this.#redundancy.living = living;
    const members = living.map(one => idOf(one.member));
    for (const group of this.all.values())
      if (group.controller !== null)
        group.step({ kind: 'alive', members: group.isForgetful ? this.#redundancy.started(members) : members });
  }

  /** The metadata names another controller, or this node again, and these members. A hint. */
  onRecord(vdiskId: string, controllerNode: string, term: number, memberNodes: readonly string[]): void {
    const group = this.all.get(vdiskId);
    if (group !== undefined) group.memberNodes = memberNodes;
    group?.step({ kind: 'recordSeen', term });
    if (group?.controller === null) group.noteController(controllerNode);
  }

  onCas(vdiskId: string, nonce: string, outcome: CasOutcome): void {
    this.all.get(vdiskId)?.onCas(nonce, outcome);
  }

  onGroup(vdiskId: string, readId: number, group: Group, seen?: Seen): void {
    const one = this.all.get(vdiskId);
    const isThere = (id: MemberId): boolean => id === one!.self || nodeOfMember(id) !== this.parts.node || !one!.isForgetful;
    if (one !== undefined) one.memberNodes = group.members.filter(isThere).map(nodeOfMember);
    one?.step({ kind: 'group', readId, group, seen });
    if (one?.controller === null) one.noteController(nodeOfMember(group.controller));
  }

  // ---------------------------------------------------------------- PeerListener

  onPeerMessage(from: MemberId, vdiskId: string, message: ReplicaMessage, entries: EntryList): void {
    this.#closed.delete(nodeOfMember(from));
    if (this.#isStopped) return;
    const group = this.all.get(vdiskId);
    if (group === undefined) {
      if (message.kind === 'copies') this.damaged.get(vdiskId)?.onMessage(from, message, entries);
      if (message.kind === 'seal' && !this.#isLeaving) this.options.group.wanted(vdiskId);
      return;
    }
    // Its controller is of another history than the replica here: that one is to be brought up anew.
    if (message.kind === 'seal' && message.history > group.log.historyId) return this.options.group.wanted(vdiskId);
    group.onMessage(from, message, entries);
  }

  onPeerClosed(node: string): void {
    if (this.#isStopped) return;
    this.#closed.set(node, this.parts.nowMs);
    for (const group of this.all.values()) {
      group.step({ kind: 'nodeClosed', node });
      // A member's silence is known now: not only at the next tick.
      if (group.controller !== null) group.onTick(this.parts.nowMs);
      if (group.controllerNode === node) group.opens.onTick(this.parts.nowMs);
    }
  }

  /** Not for long: it may be back, and have nothing to say to this node. From then on only its answers count. */
  #isClosed(node: string): boolean {
    return this.parts.nowMs - (this.#closed.get(node) ?? -Infinity) < CLOSED_MS;
  }

  // ---------------------------------------------------------------- time

  #tick(): void {
    if (this.#isStopped) return;
    this.options.engine.timer(GROUP_TICK_MS * NS_PER_MS, this.#client, 0);
    const { nowMs } = this.parts;
    for (const group of [...this.all.values(), ...this.damaged.values()]) group.onTick(nowMs);
    this.#drain(nowMs);
    this.#followRemoved(nowMs);
    this.#letGoOfSurplus(nowMs);
  }

  #letGoOfSurplus(nowMs: number): void {
    if (nowMs < this.#nextSurplusMs || this.#isLeaving) return;
    this.#nextSurplusMs = nowMs + Math.min(SURPLUS_INTERVAL_MS, this.options.group.keepSurplusMs);
    for (const group of this.all.values()) this.#redundancy.letGoOfSurplus(group, nowMs);
  }

  #turnEnd(): void {
    if (this.#isEndingTurn) return;
    this.#isEndingTurn = true;
    for (let round = 0; this.#touched.length > 0 && round < MAX_ROUNDS; round++) {
      const touched = this.#touched;
      this.#touched = [];
      for (const group of touched) group.onTurnEnd();
    }
    if (this.#hasRoom) {
      this.#hasRoom = false;
      for (const group of this.all.values()) group.retry();
    }
    this.#isEndingTurn = false;
  }
}

const HEADERS = 16;
const MAX_ROUNDS = 64;
