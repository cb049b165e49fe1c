import { GatepathError } from '../base/errors.js';
import type { GroupMember, ReplicationFactor } from './model.js';

/** Which nodes hold a vdisk. Pure. */

export interface Candidate {
  readonly member: GroupMember;
  readonly freeBytes: number;
  /** Null: it fails by itself. */
  readonly faultDomain: string | null;
}

export interface PlacementWish {
  readonly replicationFactor: ReplicationFactor;
  /** The node that was asked: it gets the first copy, and so the guests there read locally. */
  readonly localNode: string;
}

/**
 * The members of a new vdisk's group, its first controller first: the local node, then of what lives the nodes in fault domains that have no copy yet,
 * then those with most free space. Throws GatepathError ERR_TOO_FEW_NODES.
 */
export function placeMembers(wish: PlacementWish, living: readonly Candidate[]): GroupMember[] {
  const { replicationFactor, localNode } = wish;
  const chosen: Candidate[] = [];
  const left = [...living].sort(
    (a, b) => Number(b.member.node === localNode) - Number(a.member.node === localNode) || b.freeBytes - a.freeBytes || order(a, b),
  );
  while (chosen.length < replicationFactor && left.length > 0) {
    const used = new Set(chosen.map(domainOf));
    const apart = left.findIndex(one => !used.has(domainOf(one)));
    chosen.push(...left.splice(Math.max(0, apart), 1));
  }
  if (chosen.length < replicationFactor) throw tooFew(replicationFactor, living);
  return chosen.map(one => one.member);
}

/**
 * Nodes that could take another copy, the best first: those in fault domains that have none yet, then those with most free space. `holders` are the
 * names of the nodes that have one.
 */
export function candidatesForCopy(holders: readonly string[], living: readonly Candidate[]): Candidate[] {
  const used = new Set(living.filter(one => holders.includes(one.member.node)).map(domainOf));
  const isShared = (one: Candidate): number => Number(used.has(domainOf(one)));
  return living
    .filter(one => !holders.includes(one.member.node))
    .sort((a, b) => isShared(a) - isShared(b) || b.freeBytes - a.freeBytes || order(a, b));
}

const order = (a: Candidate, b: Candidate): number => (a.member.node < b.member.node ? -1 : 1);
/** No name of a domain has a slash. */
const domainOf = ({ faultDomain, member }: Candidate): string => faultDomain ?? `/${member.node}`;

function tooFew(replicationFactor: number, living: readonly Candidate[]): GatepathError {
  const names = living.map(one => one.member.node).sort();
  const who = names.length === 0 ? 'no node is' : names.length === 1 ? `only ${names[0]!} is` : `only ${names.join(' and ')} are`;
  return new GatepathError(
    'retryable',
    'ERR_TOO_FEW_NODES',
    `a vdisk of this container is kept on ${replicationFactor} nodes, and ${who} alive`,
    'start more nodes, or create it in a container with a lower --rf',
  );
}
