import { HISTORY_JUMP, MAX_SEQ } from '../../core/replication/limits.js';
import type { GroupVdisk } from './group-vdisk.js';
import { NEW_HISTORY_POLL_MS } from './limits.js';

/**
 * The vdisk was given up by force to this replica (rule 11): a new history begins with what it has. Its whole log counts as committed, since nobody is left to say
 * otherwise, and goes into the extents; then the log goes on in the new history, far behind the old one's numbers, without any session. Crash order: (1) the metadata
 * names this replica as the origin; (2) the former history is drained, step by step, each in the former history; (3) one record in the log begins the new one. A crash
 * before (3) begins this again at the next start.
 */
export class NewHistory {
  constructor(
    readonly group: GroupVdisk,
    readonly historyId: number,
    /** Attachments up to this one are over. */
    readonly generation: number,
    readonly onEnd: (problem: string) => void,
  ) {}

  start(): void {
    if (this.group.isStopped) return this.onEnd('this Stargate stops');
    const problem = this.#look();
    if (problem === null) this.group.parts.after(NEW_HISTORY_POLL_MS, () => this.start());
    else if (problem === '') this.#begin();
    else this.onEnd(problem);
  }

  /** Null: it is to be waited for; empty: all is in the extents. */
  #look(): string | null {
    const { group } = this;
    const { local, replica } = group;
    if (group.resyncs.isTarget || local.isRestarting) return null;
    group.step({ kind: 'endHistory' });
    if (!replica.member.isWorking) return 'its disk has failed';
    const { lastSeq } = replica.member.log;
    if (!group.isIdle || !group.hasRecorded || local.appliedSeq < lastSeq) return null;
    if (local.isBehind) return 'it was being brought up when the others were lost, and is not whole';
    if (lastSeq > MAX_SEQ - HISTORY_JUMP) return 'its log has no numbers left';
    return local.drained.seq === lastSeq && !group.parts.isDraining(group) ? '' : null;
  }

  #begin(): void {
    const { group, historyId, generation } = this;
    const { lastSeq, lastHash: hash, lastTerm: term } = group.replica.member.log;
    const base = { seq: lastSeq + HISTORY_JUMP, hash, term };
    const sessions = { generation, ended: [], shared: null, sessions: [] };
    group.local.restart({ base, at: base, sizeBytes: group.local.applied.sizeBytes, sessions, aheadSeq: 0, historyId }, () => {
      group.events.recovered(historyId, lastSeq, term);
      this.onEnd('');
    });
  }
}
