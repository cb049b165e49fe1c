import { AppliedLog } from '../../core/applied.js';
import { BlockIndex } from '../../core/block-index.js';
import type { PlaceRecord } from '../../core/head.js';
import type { BlockStorePort, LayerId, StoreOwner } from '../../core/ports.js';
import type { RecoveredLog } from '../../core/replication/effects.js';
import { EMPTY_BASE } from '../../core/replication/entry.js';
import { SessionTable } from '../../core/sessions.js';
import { EntryFlag, type OplogStream, type StreamVdiskLog } from '../../oplog/index.js';
import type { RecoveredReplica, RecoveredVdisk } from '../recovery.js';
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
  readonly controllerNode: string;
  readonly isMember: boolean;
  /** Of the record: 0 before anybody has controlled it. */
  readonly term: number;
}

interface OpenReplicaOptions {
  readonly parts: GroupParts;
  readonly description: GroupDescription;
  readonly stream: OplogStream;
  readonly layer: LayerId;
  readonly recovered: RecoveredReplica | null;
  /** Something at the end of the stream was cut at the start (rule 5). */
  readonly isTorn: boolean;
}

/** Why a replica cannot be used, or null: what its log, the block store and the metadata say does not fit together. */
export function replicaDamage(
  log: StreamVdiskLog,
  recovered: RecoveredReplica | null,
  layer: LayerId | null,
  historyId: number,
): string | null {
  if (log.broken !== null) return `its log is damaged at position ${log.broken.lsn}: ${log.broken.message}`;
  if (log.oldestNeededLsn !== Infinity && log.historyId !== historyId) {
    return `its log is of history ${log.historyId}, the metadata knows history ${historyId}`;
  }
  if (recovered === null) return null;
  const { head } = recovered;
  if (head === null) return 'its log has no head';
  if (log.firstSeq > head.drained.seq + 1) return `entries ${head.drained.seq + 1} to ${log.firstSeq - 1} of its log are missing`;
  if (log.firstSeq === head.drained.seq + 1 && log.firstPrevHash !== head.drained.hash) {
    return `entry ${log.firstSeq} of its log does not follow what was drained`;
  }
  return layer === head.layer ? null : `its layer ${head.layer} is not in the block store`;
}

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
  readonly onOpen: (replica: GroupVdisk) => void;
  /** This node has nothing of it, and is not asked to. */
  readonly onNothing: () => void;
  readonly onProblem: (message: string) => void;
}

/**
 * Opens the replica that a start has found, or begins a new one. Crash order of a new one: (1) its layer is durable in the block store; (2) its first
 * head is durable in the log; (3) it takes part. A crash before (2) leaves a layer without data, which is taken up again.
 */
export function startReplica(options: StartReplicaOptions): void {
  const { parts, description, stream, isStart, problem, found, isTorn, onOpen, onNothing, onProblem } = options;
  const { vdiskId, historyId, isMember, term } = description;
  const { store } = parts.ports;
  const log = stream.openVdisk(vdiskId, historyId);
  const recovered = found?.replica ?? null;
  const layer = found?.layer ?? store.layersOf(vdiskId).at(-1) ?? null;
  const isNew = found === undefined && layer === null;
  if (isNew && !isMember) {
    stream.dropVdisk(log);
    return onNothing();
  }
  const isUnread = !isStart && log.oldestNeededLsn !== Infinity;
  if (isUnread) return onProblem(problem || 'its log was read by this start without being asked for: start the node again');
  if (isNew && isStart && term > 0)
    return onProblem('this node is a member of its group, and has nothing of it: its log is lost, or was never begun');
  if (found !== undefined && found.replica === null) return onProblem('its log is one that a single node has written');
  const damage = found?.problem || replicaDamage(log, recovered, layer, historyId);
  if (damage !== null) return onProblem(damage);
  const open = (onLayer: LayerId): void => {
    const replica = openReplica({ parts, description, stream, layer: onLayer, recovered, isTorn });
    if (found !== undefined) return onOpen(replica);
    const begin = (): void => {
      if (!replica.local.begin(() => onOpen(replica))) parts.after(RESTART_RETRY_MS, begin);
    };
    begin();
  };
  if (layer !== null) return open(layer);
  const owner: StoreOwner = {
    onLayerCreated: (_tag, created) => open(created),
    onCommitted: () => undefined,
    onStoreFull: () => onProblem('the file system is full'),
    onStoreFailed: onProblem,
  };
  store.createLayer(vdiskId, owner, 0);
}

/** From what a start has found to a replica that can take part. */
function openReplica({ parts, description, stream, layer, recovered, isTorn }: OpenReplicaOptions): GroupVdisk {
  const { vdiskId, historyId, replicationFactor, minMembers, controllerNode } = description;
  const log = stream.openVdisk(vdiskId, historyId);
  log.flags = EntryFlag.replicated;
  const head = recovered?.head ?? null;
  const drained: PlaceRecord = head?.drained ?? EMPTY_BASE;
  const entries = recovered?.entries ?? [];
  const { store } = parts.ports;
  const sessions = new SessionTable();
  if (head !== null) sessions.restore(head.sessions);
  const applied = new AppliedLog(new BlockIndex(), sessions);
  const appliedSeq = committedSeq(store, layer, head?.at.seq ?? 0, drained.seq + entries.length);
  for (const entry of entries) {
    if (entry.seq > appliedSeq) break;
    applied.applyUndrained(entry.seq, bodyOf(entry), segment => store.drainSeq(layer, segment));
    if (entry.seq > (head?.at.seq ?? 0)) applied.applySession(entry.seq, bodyOf(entry));
  }
  const recoveredLog: RecoveredLog = {
    base: drained,
    entries,
    committedSeq: appliedSeq,
    promise: recovered?.promise === null || recovered === null ? null : promiseOf(recovered.promise),
    committedHeard: appliedSeq,
    isTorn,
  };
  const sizeBytes = Math.max(description.sizeBytes, head?.sizeBytes ?? 0);
  const sessionsSeq = head?.at.seq ?? 0;
  const aheadSeq = Math.max(sessionsSeq, drainedSeq(store, layer));
  return new GroupVdisk({
    state: { applied, appliedSeq, drained, aheadSeq, sessionsSeq },
    ...{ parts, vdiskId, sizeBytes, layer, replicationFactor, minMembers, stream, log, controllerNode },
    recovered: recoveredLog,
  });
}

function promiseOf({ term, controller, nonce }: NonNullable<RecoveredReplica['promise']>): NonNullable<RecoveredLog['promise']> {
  return { term, controller: controller as NonNullable<RecoveredLog['promise']>['controller'], nonce };
}

/** What is known to be committed: what a head was written with, and what drains have taken, since they take nothing else. */
function committedSeq(store: BlockStorePort, layer: LayerId, headSeq: number, lastSeq: number): number {
  return Math.min(lastSeq, Math.max(headSeq, drainedSeq(store, layer)));
}

/** Of the segment that is furthest. */
function drainedSeq(store: BlockStorePort, layer: LayerId): number {
  return store.segments(layer).reduce((seq, one) => Math.max(seq, one.drainSeq), 0);
}
