import { AppliedLog } from '../../core/applied.js';
import { BlockIndex } from '../../core/block-index.js';
import { nodeOfMember, type MemberId } from '../../../wire/replicate.js';
import type { Durability } from '../../core/controller.js';
import type { PlaceRecord, ReplicaHeadRecord } from '../../core/head.js';
import { EntryKind, type BlockStorePort, type LayerId, type StoreOwner } from '../../core/ports.js';
import { ChainWalk } from '../../core/replication/chain-walk.js';
import type { RecoveredLog, TermPromise } from '../../core/replication/effects.js';
import { EMPTY_BASE, type Entry } from '../../core/replication/entry.js';
import { SessionTable } from '../../core/sessions.js';
import { EntryFlag, type OplogStream, type StreamVdiskLog } from '../../oplog/index.js';
import type { RecoveredReplica, RecoveredVdisk } from '../recovery.js';
import { DamagedReplica } from './damaged-replica.js';
import { bodyOf } from './entries.js';
import { GroupVdisk } from './group-vdisk.js';
import { RESTART_RETRY_MS } from './limits.js';
import type { GroupParts } from './parts.js';

/** What the metadata says of a vdisk of which this node holds a replica, or is to. */
export interface GroupDescription {
  readonly vdiskId: string;
  readonly sizeBytes: number;
  readonly historyId: number;
  readonly replicationFactor: number;
  readonly minMembers: number;
  readonly durability?: Durability;
  readonly controller: MemberId;
  readonly isMember: boolean;
  /** Of the record: 0 before anybody has controlled it. */
  readonly term: number;
}

/** A replica that can take part: what a start has found of it, or nothing. */
interface OpenReplicaOptions {
  readonly parts: GroupParts;
  readonly description: GroupDescription;
  readonly stream: OplogStream;
  readonly layer: LayerId;
  readonly head: ReplicaHeadRecord | null;
  readonly entries: readonly Entry[];
  readonly promise: TermPromise | null;
  /** Something at the end of the stream was cut at the start (rule 5). */
  readonly isTorn: boolean;
  /** The start before this one may have held what is not in the log (rule 27). */
  readonly mayHaveForgotten: boolean;
}

/** Why a replica cannot be used as it is, or null: what its log, the block store and the metadata say does not fit together. */
export function replicaDamage(
  log: StreamVdiskLog,
  recovered: RecoveredReplica | null,
  layer: LayerId | null,
  historyId: number,
): string | null {
  if (log.broken !== null) return `its log is damaged at position ${log.broken.lsn}: ${log.broken.message}`;
  return otherDamage(log, recovered, layer, historyId) ?? (recovered === null ? null : logDamage(log, recovered));
}

function otherDamage(log: StreamVdiskLog, recovered: RecoveredReplica | null, layer: LayerId | null, historyId: number): string | null {
  if (log.oldestNeededLsn !== Infinity && log.historyId !== historyId) {
    return `its log is of history ${log.historyId}, the metadata knows history ${historyId}`;
  }
  const head = recovered?.head ?? null;
  return head === null || layer === head.layer ? null : `its layer ${head.layer} is not in the block store`;
}

/** What is wrong with its log alone. */
function logDamage(log: StreamVdiskLog, { head, entries }: RecoveredReplica): string | null {
  if (head === null) return 'its log has no head';
  const walk = walkOf(log, head, entries);
  if (walk.isAstray) return 'its log does not follow what was drained';
  if (walk.wanted !== null) return `entry ${walk.wanted.seq} of its log is missing`;
  return log.mayLackPromise ? 'what it has promised may be lost' : null;
}

function walkOf(log: StreamVdiskLog, { drained }: ReplicaHeadRecord, entries: ReadonlyMap<number, Entry>): ChainWalk {
  const walk = new ChainWalk(drained, { seq: log.lastSeq, hash: log.lastHash });
  walk.takeAll(entries);
  return walk;
}

const LOST = 'this node is a member of its group, and has no log of it: it is lost, or was never begun';

export interface StartReplicaOptions {
  readonly parts: GroupParts;
  readonly description: GroupDescription;
  readonly stream: OplogStream;
  /** The process starts: what is not found now is not there. */
  readonly isStart: boolean;
  /** Why it was not opened before, or ''. */
  readonly problem: string;
  readonly found: RecoveredVdisk | undefined;
  readonly isTorn: boolean;
  /** The stream was closed: nothing that was in its memory is missing in it. */
  readonly wasClosed: boolean;
  /** Damage was found in the stream, of which this log's may come. Without it, what is wrong with a log is no disk's doing, and nothing is mended. */
  readonly isRotten: boolean;
  /** Perhaps after {@link StartReplicaOptions.onDamaged}. */
  readonly onOpen: (replica: GroupVdisk) => void;
  /** Its log is to be made whole first; `onProblem` says what is wrong. */
  readonly onDamaged: (replica: DamagedReplica) => void;
  /** This node has nothing of it, and is not asked to. */
  readonly onNothing: () => void;
  readonly onProblem: (message: string) => void;
}

/**
 * Opens the replica that a start has found, or begins a new one. Crash order of a new one: (1) its layer is durable in the block store; (2) its first
 * head is durable in the log; (3) it takes part. A crash before (2) leaves a layer without data, which is taken up again.
 */
export function startReplica(options: StartReplicaOptions): void {
  const { parts, description, stream, isStart, problem, found, isTorn, isRotten, onOpen, onDamaged, onNothing, onProblem } = options;
  const mayHaveForgotten = !options.wasClosed;
  const { vdiskId, historyId, isMember, term } = description;
  const { store } = parts.ports;
  const log = stream.openVdisk(vdiskId, historyId);
  const recovered = found?.replica ?? null;
  const layer = found?.layer ?? store.layersOf(vdiskId).at(-1) ?? null;
  const isGone = found === undefined || isRemoved(store, recovered);
  if (isGone && layer === null && !isMember) {
    stream.dropVdisk(log);
    return onNothing();
  }
  const isUnread = !isStart && log.oldestNeededLsn !== Infinity;
  if (isUnread) return onProblem(problem || 'its log was read by this start without being asked for: start the node again');
  if (found !== undefined && recovered === null) return onProblem('its log is one that a single node has written');
  const unfit = found?.problem || otherDamage(log, recovered, layer, historyId);
  if (unfit != null) return onProblem(unfit);
  const isLost = found === undefined && isStart && isMember && term > 0 && (layer === null || isRotten);
  const damage = isLost ? LOST : replicaDamage(log, recovered, layer, historyId);
  if (damage !== null && !isRotten) return onProblem(damage);
  if (damage !== null) {
    const onWhole = (entries: readonly Entry[], promise: TermPromise | null): void =>
      onOpen(openReplica({ parts, description, stream, layer: layer!, head: recovered!.head, entries, promise, isTorn, mayHaveForgotten }));
    const isUsable = !isLost && log.broken === null && recovered?.head != null;
    const floor = floorOf(description);
    return onDamaged(new DamagedReplica({ parts, vdiskId, stream, log, recovered, isUsable, damage, floor, onWhole, onProblem }));
  }
  if (recovered !== null) {
    const { head, promise, entries } = recovered;
    const chain = walkOf(log, head!, entries).entries();
    const whole = { layer: layer!, head, entries: chain, promise: promiseOf(promise) };
    return onOpen(openReplica({ parts, description, stream, ...whole, isTorn, mayHaveForgotten }));
  }
  // Of one that was here before, and was removed, the log may have something yet.
  if (term === 0) beginReplica(options, EntryKind.replicaHead, null);
  else beginReplica(options, EntryKind.replicaReset, floorOf(description));
}

/** No layer of it is left: the copy was removed, and the log has still something of it. */
function isRemoved(store: BlockStorePort, recovered: RecoveredReplica | null): boolean {
  const head = recovered?.head ?? null;
  return head !== null && !store.damagedLayers().includes(head.layer);
}

/**
 * The log of a replica is given up, damaged as it is, since others have all that was ever acknowledged: it is brought up from them, and keeps what it has in its
 * extents. Until the new beginning is durable, a start finds the damaged log.
 */
export function beginAnew(options: Pick<StartReplicaOptions, 'parts' | 'description' | 'stream' | 'onOpen' | 'onProblem'>): void {
  const log = options.stream.openVdisk(options.description.vdiskId, options.description.historyId);
  log.giveUp();
  log.goOnAfter(0, 0, 0);
  beginReplica(options, EntryKind.replicaReset, floorOf(options.description));
}

/** With an empty log: its first record, behind whatever is given up. */
function beginReplica(
  { parts, description, stream, onOpen, onProblem }: Pick<StartReplicaOptions, 'parts' | 'description' | 'stream' | 'onOpen' | 'onProblem'>,
  kind: typeof EntryKind.replicaHead | typeof EntryKind.replicaReset,
  promise: TermPromise | null,
): void {
  const { store } = parts.ports;
  const { vdiskId } = description;
  const open = (layer: LayerId): void => {
    const nothing = { head: null, entries: [], isTorn: false, mayHaveForgotten: true };
    const replica = openReplica({ parts, description, stream, layer, promise, ...nothing });
    const begin = (): void => {
      if (!replica.local.begin(kind, () => onOpen(replica))) parts.after(RESTART_RETRY_MS, begin);
    };
    begin();
  };
  const layer = store.layersOf(vdiskId).at(-1);
  if (layer !== undefined) return open(layer);
  const owner: StoreOwner = {
    onLayerCreated: (_tag, created) => open(created),
    onCommitted: () => undefined,
    onStoreFull: () => onProblem('the file system is full'),
    onStoreFailed: onProblem,
  };
  store.createLayer(vdiskId, owner, 0);
}

/** No seal is sent before its term is in the record: so nothing beyond this was promised before the record was read. */
function floorOf({ term, controller }: GroupDescription): TermPromise | null {
  return term === 0 ? null : { term, controller, nonce: '' };
}

/** From what a start has found to a replica that can take part. */
function openReplica(options: OpenReplicaOptions): GroupVdisk {
  const { parts, description, stream, layer, head, entries, promise, isTorn, mayHaveForgotten } = options;
  const { vdiskId, historyId, replicationFactor, minMembers, durability = 'always', controller } = description;
  const log = stream.openVdisk(vdiskId, historyId);
  log.flags = EntryFlag.replicated;
  const drained: PlaceRecord = head?.drained ?? EMPTY_BASE;
  const { store } = parts.ports;
  const sessions = new SessionTable();
  if (head !== null) sessions.restore(head.sessions);
  const sizeBytes = head?.sizeBytes ?? description.sizeBytes;
  const applied = new AppliedLog(new BlockIndex(), sessions, sizeBytes, () => store.segments(layer));
  const appliedSeq = committedSeq(store, layer, head?.at.seq ?? 0, drained.seq + entries.length);
  for (const entry of entries) {
    if (entry.seq > appliedSeq) break;
    applied.applyUndrained(entry.seq, bodyOf(entry), segment => store.drainSeq(layer, segment));
    if (entry.seq > (head?.at.seq ?? 0)) applied.applyHead(entry.seq, bodyOf(entry));
  }
  const known = { committedSeq: appliedSeq, committedHeard: appliedSeq, isTorn, mayHaveForgotten };
  const recovered: RecoveredLog = { base: drained, entries, promise, ...known };
  const sessionsSeq = head?.at.seq ?? 0;
  const aheadSeq = Math.max(sessionsSeq, drainedSeq(store, layer));
  return new GroupVdisk({
    state: { applied, appliedSeq, drained, aheadSeq, sessionsSeq, copiesSeq: lastCopy(entries) },
    ...{ parts, vdiskId, toldBytes: description.sizeBytes, layer, replicationFactor, minMembers, durability, stream, log, recovered },
    controllerNode: nodeOfMember(controller),
  });
}

/** The last entry that lies behind a later one in the log, in place of a damaged one; 0: there is none. */
function lastCopy(entries: readonly Entry[]): number {
  for (let i = entries.length - 1, lsn = Infinity; i >= 0; i--) {
    const entry = entries[i]!;
    if (bodyOf(entry).lsn > lsn) return entry.seq;
    lsn = bodyOf(entry).lsn;
  }
  return 0;
}

function promiseOf(promise: RecoveredReplica['promise']): TermPromise | null {
  return promise as TermPromise | null;
}

/** What is known to be committed: what a head was written with, and what drains have taken, since they take nothing else. */
function committedSeq(store: BlockStorePort, layer: LayerId, headSeq: number, lastSeq: number): number {
  return Math.min(lastSeq, Math.max(headSeq, drainedSeq(store, layer)));
}

/** Of the segment that is furthest. */
function drainedSeq(store: BlockStorePort, layer: LayerId): number {
  return store.segments(layer).reduce((seq, one) => Math.max(seq, one.drainSeq), 0);
}
