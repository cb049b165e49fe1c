import { describe, expect, it } from 'vitest';
import { BlockIndex } from '../../../../src/stargate/core/block-index.js';
import { AppliedLog } from '../../../../src/stargate/core/applied.js';
import { SessionTable } from '../../../../src/stargate/core/sessions.js';
import type { GroupVdisk } from '../../../../src/stargate/runtime/group/group-vdisk.js';
import { DRAIN_LIMITS } from '../../../../src/stargate/runtime/limits.js';
import type { RoundEnd } from '../../../../src/stargate/core/round-ends.js';
import { ReplicaState } from '../../../../src/stargate/runtime/group/replica-state.js';

const HEAD_LSN = 900;
const PLACE = { seq: 0, hash: 0, term: 1 };

/** A controller's replica with three entries, at 100, 200 and 300 of the stream, of which its member has got so many. */
class Rig {
  readonly truncated: number[] = [];
  sentToAllSeq = 1;
  readonly resyncs = { holdSeq: Infinity, isTarget: false };
  readonly log = { lastSeq: 3, lastHash: 3, lastTerm: 1, historyId: 1, oldestNeededLsn: 0, goOnAfter: () => undefined };
  readonly parts = { ports: { drains: DRAIN_LIMITS } };
  #written: () => void = () => undefined;

  /** Of the machine. */
  readonly memberLog = {
    base: PLACE,
    lastSeq: 3,
    at: (seq: number) => ({ seq, creationTerm: 1, body: { lsn: 100 * seq } }),
    hashAt: (seq: number) => seq,
    trimTo: () => undefined,
  };
  readonly group = Object.assign(
    {
      options: { vdiskId: 'v', layer: 1, toldBytes: 0, replicationFactor: 2, historyId: 1 },
      parts: this.parts,
      group: null,
      resyncs: this.resyncs,
      repair: { isBusy: false },
      log: this.log,
      stream: { usage: { usedBytes: 1, capacityBytes: 2 }, truncate: (_log: unknown, lsn: number) => void this.truncated.push(lsn) },
      replica: {
        member: { committedSeq: 3, log: this.memberLog, promise: null, restart: () => undefined },
        takeover: Object.defineProperty({}, 'leader', { get: () => ({ sentToAllSeq: this.sentToAllSeq }) }),
      },
      replicaLog: {
        appendLocal: (_kind: number, _record: unknown, done: () => void) => {
          this.#written = done;
          return HEAD_LSN;
        },
      },
      // Entries wait for the room that the head is to make.
      mayRecord: false,
      mayHead: true,
      isIdle: true,
    },
    {},
  );
  readonly state = new ReplicaState(this.group as unknown as GroupVdisk, {
    applied: new AppliedLog(new BlockIndex(), new SessionTable(), 0, () => []),
    appliedSeq: 3,
    drained: PLACE,
    aheadSeq: 0,
    sessionsSeq: 0,
    copiesSeq: 0,
  });

  endRound(seq: number): boolean {
    this.state.appliedSeq = seq;
    return this.end(this.state.beginRound(true));
  }

  end(round: RoundEnd): boolean {
    let isDone = false;
    const isTaken = this.state.endRound(round, () => (isDone = true));
    this.written();
    return isTaken && isDone;
  }

  written(): void {
    this.#written();
    this.#written = () => undefined;
  }
}

describe('the log of a replica', () => {
  it('is given up as soon as the member has it that it was kept for, with the head that is there', () => {
    const rig = new Rig();
    expect(rig.endRound(2)).toBe(true);
    expect(rig.truncated).toEqual([200]);
    rig.sentToAllSeq = 3;
    rig.state.forget();
    expect(rig.truncated).toEqual([200, 300]);
  });

  it('of one that is brought up is freed by one more head that says the same, where there is nothing else in it', () => {
    const rig = new Rig();
    rig.endRound(3);
    rig.resyncs.isTarget = true;
    rig.log.oldestNeededLsn = HEAD_LSN;
    expect([rig.state.isHeldByHead, rig.state.isDirty]).toEqual([true, false]);
    rig.memberLog.lastSeq = 4;
    expect(rig.state.isHeldByHead).toBe(false);
  });

  it('is not said to be drained by a round of the log before it: that one ends, and writes nothing', () => {
    const rig = new Rig();
    rig.endRound(3);
    const round = rig.state.beginRound(true);
    rig.group.mayRecord = true;
    const to = { seq: 2, hash: 2, term: 1 };
    rig.state.restart({ base: to, at: to, sizeBytes: 0, sessions: new SessionTable().record(), aheadSeq: 0 }, () => undefined);
    rig.written();
    expect(rig.state.drained).toEqual(to);
    expect([rig.end(round), rig.state.drained]).toEqual([true, to]);
  });

  it('gets its head also while entries wait for the room that it makes', () => {
    expect(new Rig().endRound(3)).toBe(true);
  });
});
