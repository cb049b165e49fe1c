import type { EventSink } from '../../../base/events.js';
import type { PeerSender } from '../../../wire/peers.js';
import type { MemberId } from '../../../wire/replicate.js';
import type { Controller, ControllerMutations, ControllerPorts } from '../../core/controller.js';
import type { BufferAccess } from '../../core/ports.js';
import type { Group, ReplicationMutations } from '../../core/replication/effects.js';
import type { SpaceRule } from '../../core/space-rule.js';
import type { OplogStream } from '../../oplog/index.js';
import type { HeaderWriter } from './entries.js';
import type { RotCounters } from '../rot.js';
import type { GroupVdisk } from './group-vdisk.js';

/** What the replicas of one shard share, and whom they tell what. */
export interface GroupParts {
  /** Over all starts of the node: of a vdisk with `durability: flush` see {@link GroupVdisk.self}. */
  readonly self: MemberId;
  /** Which start of the node this is. */
  readonly boot: number;
  readonly node: string;
  readonly ports: Omit<ControllerPorts, 'log'>;
  readonly sender: PeerSender;
  readonly retained: BufferAccess;
  readonly headers: HeaderWriter;
  readonly mutations: ReplicationMutations;
  readonly controllerMutations: ControllerMutations;
  /** Milliseconds of a monotonic clock: time of the shard's turn, and of the start. */
  readonly nowMs: number;
  readonly startedMs: number;
  newNonce(): string;
  nextCacheOwner(): number;
  giveRetained(offset: number): void;
  /** All that the metadata knows but this one. */
  otherNodes(): readonly MemberId[];
  /** Calls `onTurnEnd` once, at the end of this turn. */
  touch(group: GroupVdisk): void;
  /** No link to the node, and its process is gone as far as one knows. */
  isClosed(node: string): boolean;
  cas(vdiskId: string, expectedEpoch: number, group: Group): void;
  readGroup(vdiskId: string, readId: number): void;
  /** Something was committed. */
  onCommitted(group: GroupVdisk): void;
  onLogFailed(errno: number): void;
  /** Rule 6: a write or sync of the extents, or the block store, gave an error that is not lack of space. */
  onDataFailed(what: string, vdiskId: string): void;
  /** Its controller here has another size than the metadata, perhaps. */
  onSized(controller: Controller): void;
  onBadBlock(vdiskId: string, offsetBytes: number, errno: number, lengthBytes: number): void;
  /** Of the shard. */
  readonly rot: RotCounters;
  isOutOfSpace(stream: OplogStream): boolean;
  ruleOf(vdiskId: string): SpaceRule;
  /** Brings the group back to its number of replicas, one learner at a time; returns after how many ms to ask again. */
  repair(group: GroupVdisk): number;
  /** Node of the member that is to take over in place of this one, which is drained; null: this one may. */
  standInFor(group: GroupVdisk): string | null;
  /** False: as many as are allowed are going on. */
  beginResync(): boolean;
  endResync(): void;
  isDraining(group: GroupVdisk): boolean;
  /** Nobody needs it: it is removed from the node, once the caller has returned. */
  discard(group: GroupVdisk): void;
  after(delayMs: number, call: () => void): void;
  readonly events: EventSink;
  say(level: 'info' | 'warn' | 'error', message: string, fields: Readonly<Record<string, unknown>>): void;
}
