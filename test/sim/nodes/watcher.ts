import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import type { Cluster } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';

/** What must hold at every moment, looked at after each turn of a node. */
export class Watcher {
  /** vdisk/term → the node that has served in it, and which of its processes: a controllership ends with its process. */
  readonly #controllers = new Map<string, string>();
  /** Processes that have died by themselves: their systems have closed their connections. */
  readonly #ended = new Set<string>();
  /** vdisk, process */
  readonly #broken = new Set<string>();
  /** vdisk/seq → the entry's hash that somebody has said is committed. */
  readonly #committed = new Map<string, Map<number, number>>();
  /** Up to where the replica was looked at. */
  readonly #seen = new Map<GroupVdisk, number>();
  /** Terms whose controller is known to be that of the replica. */
  readonly #served = new WeakMap<GroupVdisk, number>();

  constructor(readonly cluster: Cluster) {}

  observe(node: ClusterNode): void {
    const { groups } = node.part!;
    if (groups === null) return;
    for (const group of groups.all.values()) this.#observe(node, group);
  }

  /** Killed, by a power cut, or by itself. */
  ended(node: ClusterNode): void {
    this.#ended.add(processOf(node));
  }

  /** It lives, and a client's connection to it has broken as if it did not. */
  brokenTo(node: ClusterNode, vdiskId: string): void {
    this.#broken.add(`${vdiskId}, ${processOf(node)}`);
  }

  /** Perhaps by the looks of it alone. */
  hasDied(vdiskId: string, term: number): boolean {
    const process = this.#controllers.get(`${vdiskId}/${term}`) ?? '';
    return this.#ended.has(process) || this.#broken.has(`${vdiskId}, ${process}`);
  }

  gone(node: ClusterNode): void {
    for (const group of this.#seen.keys()) if (group.parts.self === node.member) this.#seen.delete(group);
  }

  #observe(node: ClusterNode, group: GroupVdisk): void {
    const { cluster } = this;
    const { vdiskId } = group;
    const { member } = group.replica;
    const record = cluster.metadata.groups.get(vdiskId)!;
    const vdisk = cluster.vdisks[0]!.id === vdiskId ? 0 : 1;
    if (member.promisedTerm > record.epoch)
      this.#complain(
        `vdisk ${vdisk}: node ${node.number} has promised term ${member.promisedTerm}, the record is of epoch ${record.epoch}`,
      );
    if (group.controller !== null && this.#served.get(group) !== group.controller.state.term) this.#serves(node, group, vdisk);
    this.#compare(node, group, vdisk);
  }

  #serves(node: ClusterNode, group: GroupVdisk, vdisk: number): void {
    const { term } = group.controller!.state;
    const controllership = `${group.vdiskId}/${term}`;
    const before = this.#controllers.get(controllership);
    const process = processOf(node);
    if (before === undefined) this.#controllers.set(controllership, process);
    else if (before !== process) this.#complain(`vdisk ${vdisk}: two controllers in term ${term}: ${before}, and ${process}`);
    this.#served.set(group, term);
  }

  /** What is committed is the same wherever it is committed. */
  #compare(node: ClusterNode, group: GroupVdisk, vdisk: number): void {
    const { log, committedSeq } = group.replica.member;
    const to = Math.min(committedSeq, log.lastSeq);
    const from = Math.max(this.#seen.get(group) ?? 0, log.base.seq);
    if (to <= from) return;
    this.#seen.set(group, to);
    let known = this.#committed.get(group.vdiskId);
    if (known === undefined) this.#committed.set(group.vdiskId, (known = new Map()));
    for (let seq = Math.max(1, from); seq <= to; seq++) {
      const hash = log.hashAt(seq);
      const before = known.get(seq);
      if (before === undefined) known.set(seq, hash);
      else if (before !== hash) {
        this.#complain(`vdisk ${vdisk}: divergent: entry ${seq} is committed at node ${node.number} with another content than elsewhere`);
        return;
      }
    }
  }

  #complain(message: string): void {
    const { complaints } = this.cluster;
    if (!complaints.includes(message)) complaints.push(message);
  }
}

const processOf = ({ number, process }: ClusterNode): string => `node ${number}, process ${process}`;
