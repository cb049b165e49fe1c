import { SharedTermFloor } from '../../../src/datapath/floor.js';
import { UnifiedCache } from '../../../src/stargate/cache/unified-cache.js';
import type { ReplicationMutations } from '../../../src/stargate/core/replication/effects.js';
import { Controller } from '../../../src/stargate/core/controller.js';
import { SessionTable } from '../../../src/stargate/core/sessions.js';
import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import { ReplicaLog, type PersistRecord } from '../../../src/stargate/runtime/group/replica-log.js';
import { ReplicaState } from '../../../src/stargate/runtime/group/replica-state.js';
import { dedupeAtAssignment, type Caught } from '../mutants.js';
import { WHOLE_LOG, type NodeBugs } from '../node.js';
import { replace } from './plant.js';
import * as resizeBugs from './resize-bugs.js';
import { ClusterRun, type ClusterRunOptions } from './run.js';
import type { Story } from './stage.js';
import * as stories from './stories.js';

/** A planted bug of replication, over whole nodes, and what it takes to come upon it soon. */
export interface ClusterMutant {
  readonly name: string;
  readonly bugs?: NodeBugs;
  /** Plants what has no seam of its own; the result takes it out again. */
  readonly plant?: () => () => void;
  readonly directed?: Pick<ClusterRunOptions, 'faults' | 'shape' | 'isLong' | 'story'>;
  /** Seeds within which it is found, with room to spare; missing: not seen yet, in a hundred or so. */
  readonly seeds?: number;
}

const replication = (mutation: keyof ReplicationMutations): NodeBugs => ({ stargate: { replication: { [mutation]: true } } });

/** M8: the records of promises say nothing, and so a start knows of none. */
function promiseNotDurable(): () => void {
  const { persist } = ReplicaLog.prototype;
  const { headRecord } = ReplicaState.prototype;
  const nothing = (record: PersistRecord): PersistRecord =>
    record.kind === 'promise' ? { kind: 'promise', promise: { ...record.promise, term: 0 } } : record;
  const first = replace(ReplicaLog.prototype, {
    persist(this: ReplicaLog, record: PersistRecord, payloadOffset: number): void {
      persist.call(this, nothing(record), payloadOffset);
    },
  });
  const second = replace(ReplicaState.prototype, {
    headRecord(this: ReplicaState, ...drained: Parameters<typeof headRecord>): ReturnType<typeof headRecord> {
      return { ...headRecord.call(this, ...drained), promise: null };
    },
  });
  return () => (first(), second());
}

/** M11: after a cut the log goes on where it is to, and says nowhere why. */
function cutNotDurable(): () => void {
  const { persist } = ReplicaLog.prototype;
  return replace(ReplicaLog.prototype, {
    persist(this: ReplicaLog, record: PersistRecord, payloadOffset: number): void {
      if (record.kind !== 'cut') return persist.call(this, record, payloadOffset);
      persist.call(this, { kind: 'promise', promise: (this.host as GroupVdisk).replica.member.promise! }, 0);
      this.log.goOnAfter(record.afterSeq, record.afterHash, record.afterTerm);
    },
  });
}

/** M13: heads, and the extents' log that a learner gets, have no sessions. */
function sessionsMissingFromHead(): () => void {
  const { headRecord } = ReplicaState.prototype;
  return replace(ReplicaState.prototype, {
    headRecord(this: ReplicaState, ...drained: Parameters<typeof headRecord>): ReturnType<typeof headRecord> {
      return { ...headRecord.call(this, ...drained), sessions: new SessionTable().record() };
    },
  });
}

/** M16: the log goes before the head that says so. */
function truncateBeforeHead(): () => void {
  const { endRound } = ReplicaState.prototype;
  return replace(ReplicaState.prototype, {
    endRound(this: ReplicaState, to: Parameters<typeof endRound>[0], done: () => void): boolean {
      const { stream, log } = this.group;
      const before = stream.usage.endLsn;
      const isBegun = endRound.call(this, to, done);
      if (isBegun) stream.truncate(log, before);
      return isBegun;
    },
  });
}

/** M17: what one controller has cached is there for the next one. One vdisk: its pages are all the same one's. */
function cacheOutlivesController(): () => void {
  const { find, insert, drop } = UnifiedCache.prototype;
  const same = (owner: number): number => (owner >= 0 && owner < 1 << 20 ? 0 : owner);
  return replace(UnifiedCache.prototype, {
    find(this: UnifiedCache, owner: number, block: number): number {
      return find.call(this, same(owner), block);
    },
    insert(this: UnifiedCache, owner: number, block: number): number {
      return insert.call(this, same(owner), block);
    },
    drop(this: UnifiedCache, owner: number, block: number, blocks: number): void {
      drop.call(this, same(owner), block, blocks);
    },
    dropOwner: () => undefined,
  });
}

/** M18 */
function noFloor(): () => void {
  return replace(SharedTermFloor.prototype, { raise: () => undefined });
}

/** Nobody is told that memory was lost. */
function lossUntold(): () => void {
  return replace(Controller.prototype, { tellOfLoss: () => undefined });
}

/** Rule 18: the sessions of the former holder go on when an attachment that was shared is to hold the vdisk. */
function holderStays(): () => void {
  const { endedByMode } = SessionTable.prototype;
  return replace(SessionTable.prototype, {
    endedByMode(this: SessionTable, change: Parameters<typeof endedByMode>[0]): ReturnType<typeof endedByMode> {
      return change.mode === 'exclusive' ? [] : endedByMode.call(this, change);
    },
  });
}

const HOT = { vdiskCount: 1, hotBlocks: 6 };
const SLOW_DISKS = { maxLatencyNs: 12_000_000 };
/** Schedules that rare bugs need: somebody takes over while the controller is well and writes; … */
const TAKEN_OVER: ClusterMutant['directed'] = { shape: { ...HOT, replicationFactor: 2 }, faults: { kinds: ['takeover'], maxGapMs: 60 } };
/** … processes are killed, and are back before others have taken over; … */
const KILLED: ClusterMutant['directed'] = {
  isLong: true,
  shape: { ...HOT, replicationFactor: 2 },
  faults: { kinds: ['kill', 'power', 'cut'], maxGapMs: 150 },
};
/** … a small log is drained again and again, and a drain comes once more behind later ones; … */
const DRAINED_LATE: ClusterMutant['directed'] = {
  isLong: true,
  shape: { ...HOT, segments: 4, segmentBytes: 128 << 10, maxResendNs: 2_000_000_000 },
  faults: { kinds: ['path', 'takeover'], maxGapMs: 300 },
};
/** … members that promised start anew while a controller of before comes back. */
const BACK_AGAIN: ClusterMutant['directed'] = {
  isLong: true,
  shape: { ...HOT, ...SLOW_DISKS, replicationFactor: 3, minMembers: 1 },
  faults: { kinds: ['kill', 'alone', 'takeover', 'pause'], maxGapMs: 150 },
};
/** … and connections break, so that requests come again at the next controller. */
const REPLAYED: ClusterMutant['directed'] = {
  shape: { ...HOT, ...SLOW_DISKS },
  faults: { kinds: ['path', 'takeover', 'kill'], maxGapMs: 60 },
};

/** Two members, and step by step what goes wrong. */
const PAIR = { ...HOT, nodeCount: 2, replicationFactor: 2, minMembers: 1 };
const told = (story: Story, shape: ClusterRunOptions['shape'] = PAIR): Pick<ClusterMutant, 'seeds' | 'directed'> => ({
  seeds: STORY_SEEDS,
  directed: { shape, story },
});
/** The seed decides only how long each thing takes. */
export const STORY_SEEDS = 2;

const RESIZABLE = { ...PAIR, resizes: true };
/** Rule 26: resizes all the time, while controllers change, and what is answered is lost. */
const RESIZED: Pick<ClusterMutant, 'seeds' | 'directed'> = {
  seeds: 30,
  directed: { shape: { ...HOT, resizes: true }, faults: { kinds: ['kill', 'takeover', 'power', 'answers', 'cut'], maxGapMs: 80 } },
};

/** Rule 27: power goes and processes are killed, again and again, while much is in memory alone. */
const FORGETFUL: Pick<ClusterMutant, 'seeds' | 'directed'> = {
  seeds: 30,
  directed: {
    shape: { ...HOT, ...SLOW_DISKS, durability: 'flush', replicationFactor: 2, nodeCount: 3, minMembers: 1 },
    faults: { kinds: ['power', 'kill'], maxGapMs: 60 },
  },
};

export const CLUSTER_MUTANTS: readonly ClusterMutant[] = [
  { name: 'acknowledged before all members have it (M1)', bugs: replication('ackBeforeAllMembers'), ...told(stories.MEMBER_UNHEARD) },
  { name: 'no seal (M2)', seeds: 40, bugs: replication('noSeal') },
  { name: 'tail read before the own promise (M3)', seeds: 40, bugs: replication('tailBeforePromise'), directed: TAKEN_OVER },
  {
    name: 'no union while a change is unknown (M4)',
    bugs: replication('noUnion'),
    ...told(stories.ADDITION_UNKNOWN, { ...PAIR, nodeCount: 3 }),
  },
  { name: 'a member counts as removed before that is known (M5)', bugs: replication('assumeRemoved'), ...told(stories.REMOVAL_UNKNOWN) },
  { name: 'a record that names me is taken for my proposal (M6)', bugs: replication('controllerIsMe'), ...told(stories.PROPOSED_BEFORE) },
  { name: 'the same term after a restart (M7)', seeds: 20, bugs: replication('sameTermAfterRestart'), directed: KILLED },
  { name: 'promise not durable (M8)', plant: promiseNotDurable, directed: BACK_AGAIN },
  { name: 'a cut that is not durable (M11)', plant: cutNotDurable, ...told(stories.CUT_FORGOTTEN) },
  { name: 'dedupe table updated at assignment (M12)', plant: dedupeAtAssignment, directed: REPLAYED },
  { name: 'session table missing from the head (M13)', plant: sessionsMissingFromHead, ...told(stories.REPLAYED_AFTER_HEAD) },
  {
    name: 'changes of an ended session applied (M14)',
    seeds: 60,
    bugs: { stargate: { controller: { applyClosedSessions: true } } },
    directed: { shape: { ...HOT, ...SLOW_DISKS }, faults: { kinds: ['datapath'], maxGapMs: 60 } },
  },
  { name: 'no drainSeq check (M15)', seeds: 20, bugs: { store: { noDrainSeqCheck: true } }, directed: DRAINED_LATE },
  {
    name: 'truncated before the head is durable (M16)',
    seeds: 30,
    plant: truncateBeforeHead,
    directed: { shape: { segments: 4, segmentBytes: 128 << 10 }, faults: { kinds: ['power'], maxGapMs: 150 } },
  },
  {
    name: 'what a former controller has cached (M17)',
    seeds: 60,
    plant: cacheOutlivesController,
    directed: { shape: { ...HOT, cachePages: 128, drains: WHOLE_LOG }, faults: { kinds: ['takeover', 'path'], maxGapMs: 100 } },
  },
  { name: 'no floor (M18)', plant: noFloor, ...told(stories.FORMER_READ) },
  {
    name: 'a shared read without a confirm round (M19)',
    seeds: 30,
    bugs: { stargate: { controller: { sharedReadUnconfirmed: true } } },
    directed: { shape: { ...HOT, nodeCount: 3, migrates: true }, faults: { kinds: ['severed'], maxGapMs: 300 } },
  },
  {
    name: 'who held the vdisk writes on when another attachment is to hold it',
    seeds: 30,
    plant: holderStays,
    directed: { shape: { migrates: true } },
  },
  {
    name: 'no seal, where who has won hangs before it serves (M2)',
    seeds: 30,
    bugs: replication('noSeal'),
    directed: { isLong: true, shape: { ...HOT, minMembers: 1 }, faults: { kinds: ['successor'], maxGapMs: 300 } },
  },
  { name: 'resize: a shrink leaves what it cuts off', plant: resizeBugs.shrinkLeavesData, ...RESIZED },
  { name: 'resize: a shrink leaves it where a replica only follows', plant: resizeBugs.followerLeavesData, ...RESIZED },
  {
    name: 'resize: the size in the metadata is ahead of the log',
    plant: resizeBugs.sizeAheadOfLog,
    ...told(stories.RESIZE_UNHEARD, RESIZABLE),
  },
  { name: 'resize: a takeover forgets what was undecided', plant: resizeBugs.takeoverForgetsSize, ...RESIZED },
  {
    name: 'resize: what a former controller did not tell the metadata is not told',
    plant: resizeBugs.sizeUntold,
    ...told(stories.RESIZE_UNTOLD, RESIZABLE),
  },
  { name: 'resize: a learner misses it', plant: resizeBugs.learnerMissesSize, ...RESIZED },
  {
    name: 'flush: answered when all members hold it in memory',
    bugs: replication('heldIsDurable'),
    ...told(stories.FLUSHED_AT_ONE, { ...PAIR, durability: 'flush' }),
  },
  {
    name: 'flush: changes answered when one member holds them',
    bugs: replication('heldByOne'),
    ...told(stories.WRITTEN_UNHEARD, { ...PAIR, durability: 'flush' }),
  },
  { name: 'flush: a member that starts again counts as holding what it had', bugs: { memoryKept: true }, ...FORGETFUL },
  { name: 'flush: a takeover without memory is not marked', bugs: replication('lossUnmarked'), ...FORGETFUL },
  { name: 'flush: the controller does not tell of a loss', plant: lossUntold, ...FORGETFUL },
];

/** What must not be. That nothing goes on any more, or that a process ends itself, is no outcome. */
const OUTCOME = /size: |read \[|flush #\d+ has ended well|divergent|two controllers|does not hold vdisk|cannot be read/;

/** Runs seeds until one shows what must not be; null: none did. */
export function huntInCluster({ bugs, plant, directed }: ClusterMutant, seeds: number, from = 1): Caught | null {
  const takeOut = plant?.();
  try {
    for (let seed = from; seed < from + seeds; seed++) {
      const { violations } = new ClusterRun({
        seed,
        ...directed,
        shape: { resizes: false, migrates: false, ...directed?.shape },
        bugs: { ...bugs, checksEndProcess: true },
      }).run();
      const found = violations.find(({ message }) => OUTCOME.test(message));
      if (found !== undefined) return { seed, outcome: found.message };
    }
    return null;
  } finally {
    takeOut?.();
  }
}
