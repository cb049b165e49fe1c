import { Controller } from '../../src/stargate/core/controller.js';
import { decodeHead } from '../../src/stargate/core/head.js';
import { EntryKind, type EntryDraft, type LogOwner } from '../../src/stargate/core/ports.js';
import { OplogStream, type StreamVdiskLog } from '../../src/stargate/oplog/index.js';
import { Flushes } from '../../src/stargate/core/flushes.js';
import { RequestState, SessionState, SessionTable } from '../../src/stargate/core/sessions.js';
import { withoutDirectorySync, withoutDsync } from '../support/disk-rig.js';
import { IoStatus } from '../../src/wire/status.js';
import { WHOLE_LOG, type NodeBugs } from './node.js';
import { Run, type RunOptions } from './run.js';

/** A planted bug, and what it takes to come upon it soon. */
export interface Mutant {
  readonly name: string;
  readonly bugs?: NodeBugs;
  /** Plants what has no seam of its own; the result takes it out again. */
  readonly plant?: () => () => void;
  readonly directed?: Pick<RunOptions, 'moments' | 'hows' | 'trouble' | 'shape'>;
}

/** Schedules that rare bugs need: the power goes while much is in flight, and connections are lost; … */
const CUT_SHORT: Mutant['directed'] = {
  moments: ['time'],
  hows: ['power'],
  trouble: { losses: 12 },
  shape: { hotBlocks: 6, maxLatencyNs: 12_000_000 },
};
/** … everybody wants the same few blocks, and requests come again and again, over restarts too; … */
const REPLAYED: Mutant['directed'] = { moments: ['time'], hows: ['kill'], trouble: { losses: 30 }, shape: { hotBlocks: 6, vdiskCount: 1 } };
/** … one datapath after another takes the vdisk over; … */
const TAKEN_OVER: Mutant['directed'] = { moments: ['time'], trouble: { takeovers: 12 }, shape: { hotBlocks: 6, vdiskCount: 1 } };
/** … the log turns over small segments, and the power goes when it begins one. */
const TURNED_OVER: Mutant['directed'] = {
  moments: ['header'],
  hows: ['power'],
  trouble: {},
  shape: { segments: 4, segmentBytes: 128 << 10 },
};

/** M12: the table says committed as soon as the change has its place in the log. */
export function dedupeAtAssignment(): () => void {
  const { set } = SessionState.prototype;
  SessionState.prototype.set = function (this: SessionState, clientSeq: number, state: number): void {
    set.call(this, clientSeq, state === RequestState.inFlight ? RequestState.committed : state);
  };
  return () => (SessionState.prototype.set = set);
}

/** M16: a round gives up the log that it has drained, and says so in a HEAD after that. */
function truncateBeforeHead(): () => void {
  const { append } = OplogStream.prototype;
  OplogStream.prototype.append = function (
    this: OplogStream,
    log: StreamVdiskLog,
    draft: EntryDraft,
    owner: LogOwner,
    tag: number,
  ): number {
    if (draft.kind === EntryKind.head && owner instanceof Controller) {
      const at = draft.payload.offsets[0]!;
      const record = decodeHead(owner.ports.arena.bytes.slice(at, at + draft.payload.totalBytes));
      if (record.drainedSeq > owner.state.drainedSeq) this.truncate(log, owner.roundEnds.after(owner.state.drainedSeq)!.nextLsn);
    }
    return append.call(this, log, draft, owner, tag);
  };
  return () => (OplogStream.prototype.append = append);
}

/** Rule 27: the process goes again and again while much is in memory alone. */
const FORGETFUL: Mutant['directed'] = {
  moments: ['time', 'batch'],
  hows: ['kill', 'power'],
  trouble: {},
  shape: { durability: 'flush', hotBlocks: 6, vdiskCount: 1 },
};

/** FLUSH and FUA are answered without waiting for the disk. */
function flushUnwaited(): () => void {
  const { answerDurable } = Flushes.prototype;
  Flushes.prototype.answerDurable = function (this: Flushes, request) {
    this.controller.answer(request, IoStatus.ok);
  };
  return () => (Flushes.prototype.answerDurable = answerDurable);
}

/** Nobody is told that memory was lost. */
function lossUntold(): () => void {
  const { memoryLost } = SessionTable.prototype;
  SessionTable.prototype.memoryLost = () => undefined;
  return () => (SessionTable.prototype.memoryLost = memoryLost);
}

/** Changes are answered from memory also while the log on the disk ends in a HEAD, which says that none was. */
function heldBehindHead(): () => void {
  const { onCommitted } = Flushes.prototype;
  Flushes.prototype.onCommitted = () => undefined;
  return () => (Flushes.prototype.onCommitted = onCommitted);
}

/** A round takes what is committed, in memory or not. */
function drainedBeforeDurable(): () => void {
  const drainable = Object.getOwnPropertyDescriptor(Controller.prototype, 'drainableSeq')!;
  Object.defineProperty(Controller.prototype, 'drainableSeq', {
    ...drainable,
    get(this: Controller) {
      return this.committedSeq;
    },
  });
  return () => Object.defineProperty(Controller.prototype, 'drainableSeq', drainable);
}

export const MUTANTS: readonly Mutant[] = [
  { name: 'RWF_DSYNC left out', bugs: { engine: withoutDsync } },
  { name: 'directory sync left out', bugs: { engine: withoutDirectorySync } },
  { name: 'indexed before durable', bugs: { stargate: { controller: { indexBeforeDurable: true } } }, directed: CUT_SHORT },
  { name: 'acknowledged before durable', bugs: { oplog: { ackBeforeDurable: true } } },
  { name: 'dedupe table updated at assignment (M12)', plant: dedupeAtAssignment, directed: CUT_SHORT },
  { name: 'replay applied twice', bugs: { stargate: { controller: { noDedupe: true } } }, directed: REPLAYED },
  {
    name: 'session table missing from HEAD (M13)',
    bugs: { stargate: { controller: { sessionsMissingFromHead: true } } },
    directed: REPLAYED,
  },
  {
    name: 'changes of an ended session applied (M14)',
    bugs: { stargate: { controller: { applyClosedSessions: true } } },
    directed: TAKEN_OVER,
  },
  { name: 'no drainSeq check (M15)', bugs: { store: { noDrainSeqCheck: true } } },
  { name: 'truncate before HEAD commits (M16)', plant: truncateBeforeHead, directed: TURNED_OVER },
  { name: 'store commit before the extents are synced', bugs: { stargate: { drain: { commitBeforeSync: true } } } },
  { name: 'the cut is not durable', bugs: { oplog: { cutNotDurable: true } } },
  { name: 'flush: answered without waiting', plant: flushUnwaited, directed: FORGETFUL },
  { name: 'flush: loss of memory not told', plant: lossUntold, directed: FORGETFUL },
  { name: 'flush: answered from memory behind a HEAD', plant: heldBehindHead, directed: FORGETFUL },
  {
    name: 'flush: left out of a drain for what is in memory alone',
    bugs: { stargate: { drain: { leavesOutHeld: true } } },
    directed: {
      ...TURNED_OVER,
      moments: ['commit'],
      shape: { ...TURNED_OVER.shape, durability: 'flush', hotBlocks: 6, maxLatencyNs: 12_000_000 },
    },
  },
  {
    name: 'flush: drained before durable',
    plant: drainedBeforeDurable,
    directed: {
      ...TURNED_OVER,
      moments: ['commit', 'batch'],
      shape: { ...TURNED_OVER.shape, durability: 'flush', maxLatencyNs: 12_000_000, drains: WHOLE_LOG },
    },
  },
];

export interface Caught {
  readonly seed: number;
  readonly outcome: string;
}

/** Runs seeds until one shows an outcome that may not be; null: none did. What merely throws does not count. */
export function hunt({ bugs, plant, directed }: Mutant, seeds: number, from = 1): Caught | null {
  const takeOut = plant?.();
  try {
    for (let seed = from; seed < from + seeds; seed++) {
      const { violations } = new Run({ seed, ...directed, ...(bugs === undefined ? {} : { bugs }) }).run();
      if (violations.length > 0) return { seed, outcome: violations[0]!.message };
    }
    return null;
  } finally {
    takeOut?.();
  }
}
