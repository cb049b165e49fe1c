import type { CasOutcome, Group } from '../../../src/stargate/core/replication/effects.js';

/** The metadata store: one record, linearizable. Loss and delay are the network's. */
export class SimMetadata {
  group: Group;

  constructor(first: Group) {
    this.group = first;
  }

  cas(expectedEpoch: number, group: Group): CasOutcome {
    if (this.group.epoch !== expectedEpoch) return { kind: 'refused', group: this.group };
    this.group = group;
    return { kind: 'applied' };
  }
}
