import { SharedTermFloor } from '../../../src/datapath/floor.js';
import type { Accusation } from '../../../src/datapath/messages.js';
import { traceKind } from '../trace.js';
import type { Cluster } from './cluster.js';

/** Somebody releases the vdisk within this time. */
const MAX_HELD_NS = 500e6;

const Quarantined = traceKind(
  (vdisk, first, second) => `vdisk ${vdisk}: quarantined: controllers of terms ${first} and ${second} have died`,
);

/** Rule 19: what datapaths say of controllers that have died of a request, held against what has become of those; and whoever looks after the cluster. */
export class Quarantines {
  count = 0;

  constructor(readonly cluster: Cluster) {}

  accused({ vdiskId, terms }: Accusation, floor: SharedArrayBuffer): void {
    const { clock, complaints, trace, vdisks, watcher } = this.cluster;
    const vdisk = vdisks.findIndex(({ id }) => id === vdiskId);
    this.count++;
    trace.add(Quarantined, vdisk, terms[0], terms[1]);
    if (terms[0] === terms[1]) complaints.push(`vdisk ${vdisk} is quarantined for the death of one controller`);
    for (const term of terms)
      // A connection that breaks, and another controller behind it (the power is cut, it stands still), look like a death.
      if (!watcher.hasDied(vdiskId, term)) complaints.push(`vdisk ${vdisk} is quarantined, and its controller of term ${term} lives`);
    clock.after(1 + clock.below(MAX_HELD_NS), () => new SharedTermFloor(floor).release());
  }
}
