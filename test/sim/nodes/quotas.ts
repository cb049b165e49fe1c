import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { VdiskSpace } from '../../../src/stargate/runtime/space-rules.js';
import type { Vdisk } from '../load.js';
import { traceKind } from '../trace.js';
import type { Cluster } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';

/** Longest time from one count to the next. */
const MAX_COUNT_NS = 120e6;
type Grant = Pick<VdiskSpace, 'limitBytes' | 'endBytes'>;

/** What a vdisk is dealt at most. */
const MAX_GRANT_BLOCKS = 24;

const Dealt = traceKind((node, vdisk, blocks) => `quota: node ${node} deals vdisk ${vdisk} ${blocks} blocks`);

/**
 * Containers with a quota: each node counts again and again what the vdisks use that it controls, and deals them what they may take by the next count, as its main thread does; often
 * nothing. A vdisk that it does not control is dealt nothing. Nothing is counted together: more is taken than any quota would allow, at moments that no quota would choose.
 */
export class Quotas {
  /** Grants that were used up by the next count. */
  usedUp = 0;
  #isOver = false;

  constructor(readonly cluster: Cluster) {
    if (!cluster.waitsForSpace) cluster.mayBeFull = true;
    for (const node of cluster.nodes) this.#count(node);
  }

  /** There are no quotas any more. */
  lift(): void {
    this.#isOver = true;
    for (const node of this.cluster.nodes) this.#tell(node, () => ({ limitBytes: Infinity, endBytes: Infinity }));
  }

  #count(node: ClusterNode): void {
    const { clock } = this.cluster;
    clock.after(1 + clock.below(MAX_COUNT_NS), () => {
      if (this.#isOver) return;
      this.#tell(node, vdisk => this.#deal(node, vdisk));
      this.#count(node);
    });
  }

  #deal(node: ClusterNode, vdisk: Vdisk): Grant {
    const { clock, trace } = this.cluster;
    const rule = node.part!.controllerOf(vdisk.id)?.rule;
    if (rule === undefined) return { limitBytes: 0, endBytes: Infinity };
    if (rule.takenBytes >= rule.limitBytes) this.usedUp++;
    const blocks = clock.below(2) === 0 ? 0 : clock.below(MAX_GRANT_BLOCKS);
    trace.add(Dealt, node.number, vdisk.index, blocks);
    const limitBytes = rule.takenBytes + blocks * BLOCK_BYTES;
    return { limitBytes, endBytes: clock.below(4) === 0 ? limitBytes : Infinity };
  }

  #tell(node: ClusterNode, grantOf: (vdisk: Vdisk) => Grant): void {
    const { vdisks, waitsForSpace } = this.cluster;
    node.turn(part =>
      part.setSpace(vdisks.map(vdisk => ({ vdiskId: vdisk.id, onFull: waitsForSpace ? 'wait' : 'error', ...grantOf(vdisk) }))),
    );
  }
}
