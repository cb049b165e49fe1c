import { addressOf, type Candidate, type PathTarget } from './paths.js';

/** A node as the datapath's main thread has read of it. */
export interface KnownNode {
  readonly id: string;
  readonly target: PathTarget;
  readonly isLocal: boolean;
}

/** A vdisk's group, as much of it as the choice of a path needs. */
export interface KnownGroup {
  readonly vdiskId: string;
  readonly epoch: number;
  readonly controller: string;
  readonly members: readonly string[];
}

/**
 * Where the vdisks of a datapath may be served, in one shard: what the configuration says at the start, then what the metadata store says, as long as
 * it says something. Pure.
 */
export class NodeTable {
  #nodes: readonly KnownNode[] = [];
  readonly #groups = new Map<string, KnownGroup>();

  /** `configured`: the local Stargate first, then others that may know where a vdisk is. */
  constructor(private readonly configured: readonly PathTarget[]) {
    if (configured.length === 0) throw new Error('a datapath needs a Stargate to connect to: none was configured');
  }

  setNodes(nodes: readonly KnownNode[]): void {
    this.#nodes = nodes;
  }

  setGroup(group: KnownGroup): void {
    this.#groups.set(group.vdiskId, group);
  }

  /** No vdisk of this datapath any more. */
  forget(vdiskId: string): void {
    this.#groups.delete(vdiskId);
  }

  groupOf(vdiskId: string): KnownGroup | null {
    return this.#groups.get(vdiskId) ?? null;
  }

  /** The Stargate of this machine. */
  get local(): PathTarget {
    return this.configured[0]!;
  }

  candidatesOf(vdiskId: string): Candidate[] {
    const members = this.groupOf(vdiskId)?.members ?? [];
    const candidates = this.#nodes.map(({ id, target, isLocal }): Candidate => {
      return { node: id, target: isLocal ? this.local : target, isLocal, isMember: members.includes(id) };
    });
    const known = new Set(this.#nodes.map(({ target }) => addressOf(target)));
    const hasLocal = candidates.some(candidate => candidate.isLocal);
    for (const [i, target] of this.configured.entries()) {
      if (i === 0 ? hasLocal : known.has(addressOf(target))) continue;
      candidates.push({ node: addressOf(target), target, isLocal: i === 0, isMember: false });
    }
    return candidates;
  }
}
