import type { GroupVdisk } from './group-vdisk.js';

/** Confirm rounds for the controller here (rule 18): one begins at the end of a turn, so that all reads which that turn has brought share it. */
export class ConfirmRounds {
  #isWanted = false;

  constructor(readonly group: GroupVdisk) {}

  want(): void {
    this.#isWanted = true;
    this.group.parts.touch(this.group);
  }

  onTurnEnd(): void {
    if (!this.#isWanted) return;
    this.#isWanted = false;
    this.group.controller?.onConfirmBegun();
    this.group.step({ kind: 'confirm' });
  }

  /** What was asked in another term than the controller's is of one that is no more. */
  onConfirmed(term: number): void {
    const { controller } = this.group;
    if (controller?.state.term === term) controller.onConfirmed();
  }
}
