import type { EntryDraft, LogOwner, OplogPort, OplogUsage, ReadOwner, VdiskLog } from '../../core/ports.js';
import type { GroupVdisk } from './group-vdisk.js';

/**
 * The log as the controller of a group sees it: what it appends goes to all members, and is "durable" when it is committed. So the controller is
 * the same whether one node holds the log or three.
 */
export class GroupLog implements OplogPort {
  constructor(readonly group: GroupVdisk) {}

  get usage(): OplogUsage {
    return this.group.stream.usage;
  }

  append(_log: VdiskLog, draft: EntryDraft, owner: LogOwner, tag: number): number {
    return this.group.appendOwn(draft, owner, tag);
  }

  readPayload(lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.group.stream.readPayload(lsn, lengthBytes, arenaOffset, owner, tag);
  }

  /** The rounds of the group's drains do that. */
  truncate(): void {
    // Nothing.
  }
}
