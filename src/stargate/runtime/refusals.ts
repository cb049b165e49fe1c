import type { BlockStorePort } from '../core/ports.js';
import type { ShardStream } from './streams.js';
import type { VdiskProblem } from './vdisks.js';

/** The vdisks of a shard that exist and are not served, and why. What the log has of them stays there: nobody drains it. */
export class Refusals {
  readonly problems: VdiskProblem[] = [];

  messageOf(vdiskId: string): string | undefined {
    return this.problems.find(one => one.vdiskId === vdiskId)?.message;
  }

  add(problem: VdiskProblem, { log, scheduler }: ShardStream): void {
    this.forget(problem.vdiskId);
    this.problems.push(problem);
    const refused = log.vdisk(problem.vdiskId);
    if (refused !== undefined) scheduler.addRefused(refused);
  }

  forget(vdiskId: string): void {
    const at = this.problems.findIndex(one => one.vdiskId === vdiskId);
    if (at >= 0) this.problems.splice(at, 1);
  }

  /** It is deleted: what the log has of it holds space until the next start otherwise. */
  drop(vdiskId: string, stream: ShardStream | undefined): void {
    const log = stream?.log.vdisk(vdiskId);
    if (log !== undefined) {
      stream!.log.dropVdisk(log);
      stream!.scheduler.removeRefused(log);
    }
    this.forget(vdiskId);
  }

  /**
   * Logs of vdisks that the metadata does not know. Deleted: no layer is left, and the entries are needed no more. If there is one, either the deletion goes on
   * in a moment, or this is not the metadata that belongs to the data: then nothing is given up.
   */
  addUnknown(known: ReadonlySet<string>, streams: readonly ShardStream[], store: BlockStorePort): void {
    const isWhole = store.damagedLayers().length === 0;
    for (const { log, scheduler } of streams) {
      for (const vdisk of [...log.vdisks()]) {
        const { vdiskId } = vdisk;
        if (known.has(vdiskId)) continue;
        if (isWhole && store.layersOf(vdiskId).length === 0) log.dropVdisk(vdisk);
        else {
          this.problems.push({ vdiskId, message: 'its data is here, but the metadata does not know it, or it is being deleted' });
          scheduler.addRefused(vdisk);
        }
      }
    }
  }
}
