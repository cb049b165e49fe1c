import { AppliedLog, type LogBody } from '../../../src/stargate/core/applied.js';
import { Applier } from '../../../src/stargate/core/applier.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { Resizes, type ResizeRequest, type ResizeResult } from '../../../src/stargate/core/resizes.js';
import { ReplicaState } from '../../../src/stargate/runtime/group/replica-state.js';
import { replace } from './plant.js';

/** Rule 26: what a shrink cuts off stays there, on every replica. */
export function shrinkLeavesData(): () => void {
  const { apply } = Applier.prototype;
  const { applyBlocks, applyUndrained } = AppliedLog.prototype;
  const first = replace(Applier.prototype, {
    apply(this: Applier, at: number, ...rest: [number, number, number]): void {
      if (this.controller.flights.kind[at] !== EntryKind.resize) apply.call(this, at, ...rest);
    },
  });
  const second = replace(AppliedLog.prototype, {
    applyBlocks(this: AppliedLog, seq: number, body: LogBody): void {
      if (body.kind !== EntryKind.resize) applyBlocks.call(this, seq, body);
    },
    applyUndrained(this: AppliedLog, seq: number, body: LogBody, drainSeqOf: (segment: number) => number): void {
      if (body.kind !== EntryKind.resize) applyUndrained.call(this, seq, body, drainSeqOf);
    },
  });
  return () => (first(), second());
}

/** … or on those that only follow: as a node of before there was such an entry. */
export function followerLeavesData(): () => void {
  const { applyBlocks } = AppliedLog.prototype;
  return replace(AppliedLog.prototype, {
    applyBlocks(this: AppliedLog, seq: number, body: LogBody): void {
      if (body.kind !== EntryKind.resize) applyBlocks.call(this, seq, body);
    },
  });
}

/** The metadata hears of a size when its entry gets its place in the log: it may be cut. */
export function sizeAheadOfLog(): () => void {
  const { start } = Resizes.prototype;
  return replace(Resizes.prototype, {
    start(this: Resizes, request: ResizeRequest, done: (result: ResizeResult) => void): void {
      const { controller } = this;
      const before = controller.lastSeq;
      start.call(this, request, done);
      if (controller.lastSeq === before) return;
      const { state } = controller;
      const { sizeBytes } = state;
      state.sizeBytes = request.toBytes;
      controller.host.onSized?.(controller);
      state.sizeBytes = sizeBytes;
    },
  });
}

/** Who takes over goes by the size that it knew when its process began. */
export function takeoverForgetsSize(): () => void {
  const { controllerBegins } = ReplicaState.prototype;
  return replace(ReplicaState.prototype, {
    controllerBegins(this: ReplicaState, term: number): ReturnType<typeof controllerBegins> {
      return { ...controllerBegins.call(this, term), sizeBytes: this.group.options.toldBytes };
    },
  });
}

/** What a former controller has committed, and did not come to tell the metadata, nobody tells. */
export function sizeUntold(): () => void {
  const { apply } = ReplicaState.prototype;
  return replace(ReplicaState.prototype, {
    apply(this: ReplicaState): void {
      apply.call(this);
      this.isResized = false;
    },
  });
}

/** A learner that gets the extents goes by the size that it knew. */
export function learnerMissesSize(): () => void {
  const { restart } = ReplicaState.prototype;
  return replace(ReplicaState.prototype, {
    restart(this: ReplicaState, to: Parameters<typeof restart>[0], done: () => void): void {
      restart.call(this, { ...to, sizeBytes: this.group.options.toldBytes }, done);
    },
  });
}
