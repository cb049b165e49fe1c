import { nodeOfMember } from '../../../wire/replicate.js';
import type { GroupVdisk } from './group-vdisk.js';
import { HANDOVER_TIMEOUT_MS } from './limits.js';

/**
 * A planned change of controller (rule 12): the other member is asked to take over, and this controller serves on until that one's seal ends its
 * term. So the metadata's answer is waited for by nobody: the pause is that of a seal. If nothing comes of it, nothing has happened.
 */
export class Handover {
  #untilMs = -1;

  constructor(readonly group: GroupVdisk) {}

  /** Another member has been asked, and has not taken over yet. */
  get isUnderWay(): boolean {
    return this.group.controller !== null && this.group.parts.nowMs < this.#untilMs;
  }

  /** `why`: in words, for the events. */
  start(node: string, why: string): void {
    const { group, parts } = this.group;
    const to = group?.members.find(member => nodeOfMember(member) === node);
    if (to === undefined || to === this.group.self || this.isUnderWay) return;
    this.#untilMs = parts.nowMs + HANDOVER_TIMEOUT_MS;
    this.group.events.handOver(node, why);
    this.group.step({ kind: 'handOver', to });
  }
}
