import { describe, expect, it } from 'vitest';
import { BlockIndex } from '../../../../src/stargate/core/block-index.js';
import { AppliedLog } from '../../../../src/stargate/core/applied.js';
import { SessionTable } from '../../../../src/stargate/core/sessions.js';
import type { GroupVdisk } from '../../../../src/stargate/runtime/group/group-vdisk.js';
import { DRAIN_LIMITS } from '../../../../src/stargate/runtime/limits.js';
import { ReplicaState } from '../../../../src/stargate/runtime/group/replica-state.js';

const HEAD_LSN = 900;
const PLACE = { seq: 0, hash: 0, term: 1 };

/** A controller's replica with three entries, at 100, 200 and 300 of the stream, of which its member has got so many. */
class Rig {
  readonly truncated: number[] = [];
  sentToAllSeq = 1;
  #written: () => void = () => undefined;

  readonly state = new ReplicaState(
    {
      options: { vdiskId: 'v', layer: 1, toldBytes: 0, replicationFactor: 2, historyId: 1 },
      parts: { ports: { drains: DRAIN_LIMITS } },
      group: null,
      resyncs: { holdSeq: Infinity, isTarget: false },
      log: { lastSeq: 3, oldestNeededLsn: 0 },
      stream: { usage: { usedBytes: 1, capacityBytes: 2 }, truncate: (_log: unknown, lsn: number) => void this.truncated.push(lsn) },
      replica: {
        member: {
          committedSeq: 3,
          log: {
            base: PLACE,
            lastSeq: 3,
            at: (seq: number) => ({ seq, creationTerm: 1, body: { lsn: 100 * seq } }),
            hashAt: (seq: number) => seq,
            trimTo: () => undefined,
          },
        },
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
    } as unknown as GroupVdisk,
    {
      applied: new AppliedLog(new BlockIndex(), new SessionTable(), 0, () => []),
      appliedSeq: 3,
      drained: PLACE,
      aheadSeq: 0,
      sessionsSeq: 0,
      copiesSeq: 0,
    },
  );

  endRound(seq: number): boolean {
    let isDone = false;
    const isTaken = this.state.endRound({ seq, hash: 0, nextLsn: -1 }, () => (isDone = true));
    this.#written();
    return isTaken && isDone;
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

  it('gets its head also while entries wait for the room that it makes', () => {
    expect(new Rig().endRound(3)).toBe(true);
  });
});
