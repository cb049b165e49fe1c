import { nodeOfMember, type MemberId } from '../../../wire/replicate.js';
import type { GroupVdisk } from './group-vdisk.js';
import { HANDOVER_TIMEOUT_MS } from './limits.js';

/**
 * A planned change of controller (rule 12): nothing more is admitted, what is in flight ends, then the other member is asked to take over and the
 * sessions are sent there. If it comes to nothing in time, this controller goes on as if nothing had been.
 */
export class Handover {
  #to: MemberId | null = null;
  #sinceMs = 0;

  constructor(readonly group: GroupVdisk) {}

  /** Node that is about to get the vdisk, or has just got it from here. */
  get target(): string | null {
    return this.#to === null ? null : nodeOfMember(this.#to);
  }

  /** False: that node is no member, or the vdisk is not controlled here. */
  start(node: string): boolean {
    const { group, parts } = this.group;
    const to = group?.members.find(member => nodeOfMember(member) === node);
    if (to === undefined || to === parts.self || this.group.controller === null || this.#to !== null) return false;
    this.#to = to;
    this.#sinceMs = parts.nowMs;
    this.follow();
    return true;
  }

  /** After each event of the group. */
  follow(): void {
    if (this.#to === null) return;
    const { leader } = this.group.replica.takeover;
    if (leader === null || this.group.controller === null) this.#end();
    else if (leader.mayHandOverTo(this.#to)) this.group.step({ kind: 'handOver', to: this.#to });
  }

  onTick(nowMs: number): void {
    if (this.#to === null || nowMs - this.#sinceMs < HANDOVER_TIMEOUT_MS) return;
    this.#end();
    this.group.retry();
  }

  /** The new controller is known here before the metadata tells. */
  #end(): void {
    const node = this.target!;
    this.#to = null;
    if (this.group.controller === null) this.group.noteController(node);
  }
}
