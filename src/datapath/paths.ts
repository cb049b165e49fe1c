import { parseTcp } from '../wire/placement.js';
import { MAX_OTHERS, RECONNECT_FIRST_MS, RECONNECT_LAST_MS, SHUN_MS } from './limits.js';

/** Pure: which nodes may serve a vdisk, and which of them is asked first. When they are asked is path-search.ts. */

export type PathTarget =
  /** A Stargate in this process; its shard is known when the path is opened. */
  | { readonly kind: 'in-process' }
  | { readonly kind: 'unix'; readonly socketPath: string }
  /** `node`: who has to be there, where that can be proved. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly node?: string };

export type StreamPathTarget = Exclude<PathTarget, { kind: 'in-process' }>;

export const unixTarget = (socketPath: string): StreamPathTarget => ({ kind: 'unix', socketPath });

/** `address` as node records have it. */
export function tcpTarget(address: string, node?: string): StreamPathTarget {
  const target = { kind: 'tcp', ...parseTcp(address) } as const;
  return node === undefined ? target : { ...target, node };
}

export function addressOf(target: PathTarget): string {
  if (target.kind === 'in-process') return 'this process';
  return target.kind === 'unix' ? `unix:${target.socketPath}` : `tcp:${target.host}:${target.port}`;
}

/** A node that may serve the vdisk, or knows who does. */
export interface Candidate {
  /** Its id; for one that no node record tells of yet, its address. */
  readonly node: string;
  readonly target: PathTarget;
  /** On this machine. */
  readonly isLocal: boolean;
  /** Of the vdisk's group; false for all while the group is not known. */
  readonly isMember: boolean;
}

/** What a shard has lately seen of one node, over all its sessions. */
export interface NodeHealth {
  /** When a connection to it broke, was silent, or could not be made; -Infinity: not since it last opened a session. */
  lostNs: number;
  /** When it last refused a session. */
  refusedNs: number;
  /** From the question to the open session, the last time. */
  latencyNs: number;
}

/** Shared by a shard's sessions: what one of them has found out, the others need not. */
export class HealthTable {
  readonly #nodes = new Map<string, NodeHealth>();

  of(node: string): NodeHealth {
    let health = this.#nodes.get(node);
    if (health === undefined) this.#nodes.set(node, (health = { lostNs: -Infinity, refusedNs: -Infinity, latencyNs: 0 }));
    return health;
  }
}

/** Who controls the vdisk, as somebody said. */
export interface Hint {
  readonly node: string;
  readonly atNs: number;
}

export function isShunned(health: NodeHealth, nowNs: number): boolean {
  return nowNs - health.lostNs < SHUN_MS * 1e6;
}

/**
 * The order in which candidates are asked: whom a hint names, unless that node was lost since; then those that have not failed lately, those that have only
 * refused, and those that were lost. Within each, the local one if it is a member (a takeover there makes the shortest path), the other members by latency, a
 * local one that is no member, and last, only for what they may know, a few others. Where no group is known, the local one goes first.
 */
export function orderOf(candidates: readonly Candidate[], hint: Hint | null, table: HealthTable, nowNs: number): Candidate[] {
  const ranked = candidates.map(candidate => {
    const health = table.of(candidate.node);
    const hinted = hint?.node === candidate.node && hint.atNs >= health.lostNs;
    const penalty = isShunned(health, nowNs) ? 8 : nowNs - health.refusedNs < SHUN_MS * 1e6 ? 4 : 0;
    return { candidate, health, rank: hinted ? -1 : penalty + classOf(candidate) };
  });
  ranked.sort(
    (a, b) =>
      a.rank - b.rank ||
      compare(a.health.lostNs, b.health.lostNs) ||
      compare(a.health.refusedNs, b.health.refusedNs) ||
      a.health.latencyNs - b.health.latencyNs,
  );
  let others = 0;
  return ranked
    .filter(({ candidate, rank }) => rank < 0 || !isOther(candidate) || ++others <= MAX_OTHERS)
    .map(({ candidate }) => candidate);
}

/** Neither member nor local: it serves nothing of the vdisk, and may only know who does. */
export function isOther(candidate: Candidate): boolean {
  return !candidate.isMember && !candidate.isLocal;
}

function classOf({ isLocal, isMember }: Candidate): number {
  if (isMember) return isLocal ? 0 : 1;
  return isLocal ? 2 : 3;
}

/** Not by subtraction: both may be -Infinity. */
function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Between two rounds over all candidates, and before a session that keeps losing its path looks for another: nothing at first, then doubling. */
export function backOffMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(RECONNECT_LAST_MS, RECONNECT_FIRST_MS * 2 ** Math.min(failures - 1, 10));
}
