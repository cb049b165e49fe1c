import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { LAYOUT } from '../up/nodes/layout.js';
import type { VerifiedReplica } from '../../stargate/runtime/verify.js';
import { verifyMemory, verifyNode, type Problem, type VerifiedNode, type VerifyReport } from './directory.js';

export interface ClusterReport {
  readonly ok: boolean;
  readonly nodes: readonly VerifyReport[];
  /** Between them. */
  readonly problems: readonly Problem[];
  /** Vdisks of which more than one of the directories has a log. */
  readonly compared: number;
}

/** What the directories of nodes are, where `path` is a directory that `gatepath up --nodes` keeps them in; else itself. */
export function nodeDirectories(path: string): readonly string[] {
  const isNode = (directory: string): boolean => existsSync(join(directory, MARK));
  if (!existsSync(join(path, LAYOUT))) return [path];
  const below = readdirSync(path, { withFileTypes: true }).filter(one => one.isDirectory());
  const nodes = below.map(({ name }) => join(path, name)).filter(isNode);
  return nodes.length === 0 ? [path] : nodes.sort();
}

const MARK = 'gatepath.json';

/**
 * Checks the directories of several nodes, each by itself, and their logs against each other. Metadata in etcd is not read: which of the copies are members, and how far each is
 * committed, is not known here. Throws as verifyDirectory.
 */
export function verifyCluster(
  directories: readonly string[],
  onProgress: (directory: string, doneBytes: number, totalBytes: number) => void,
): ClusterReport {
  const memory = verifyMemory();
  const verified = directories.map(directory => verifyNode(directory, (done, total) => onProgress(directory, done, total), memory));
  const problems = between(verified);
  const nodes = verified.map(({ report }) => report);
  const counts = new Map<string, number>();
  for (const { replicas } of verified) for (const id of replicas.keys()) counts.set(id, (counts.get(id) ?? 0) + 1);
  const compared = [...counts.values()].filter(count => count > 1).length;
  return { ok: problems.length === 0 && nodes.every(({ ok }) => ok), nodes, problems, compared };
}

/** What does not go together, each directory whole in itself or not. */
export function between(verified: readonly VerifiedNode[]): Problem[] {
  return [...compareDirectories(verified), ...compareReplicas(verified)];
}

/** They are different stores of one cluster. */
function compareDirectories(verified: readonly VerifiedNode[]): Problem[] {
  const problems: Problem[] = [];
  for (const [i, { report, identity }] of verified.entries()) {
    if (identity === null) continue;
    for (const other of verified.slice(0, i)) {
      const files = `${other.report.directory}, ${report.directory}`;
      if (other.identity?.storeUuid === identity.storeUuid)
        problems.push(problem('directory-twice', files, null, `both are the store ${identity.storeUuid}: one is a copy of the other`));
      else if (other.identity !== null && other.identity.clusterId !== identity.clusterId)
        problems.push(problem('directory-foreign', files, null, 'they are not of one cluster'));
    }
  }
  return problems;
}

/** An entry never changes, whoever sends it again: two logs of one history that have the same one of a term have the same in it, and before it. */
function compareReplicas(verified: readonly VerifiedNode[]): Problem[] {
  const problems: Problem[] = [];
  for (const [i, { report, replicas }] of verified.entries()) {
    for (const other of verified.slice(0, i)) {
      for (const [vdiskId, replica] of replicas) {
        const there = other.replicas.get(vdiskId);
        const why = there === undefined || there.historyId !== replica.historyId ? null : differs(replica, there);
        if (why !== null) problems.push(problem('replica-differs', `${other.report.directory}, ${report.directory}`, vdiskId, why));
      }
    }
  }
  return problems;
}

/** Null: nothing is known against it. */
function differs(a: VerifiedReplica, b: VerifiedReplica): string | null {
  const placeOf = new Map<string, number>();
  for (const { seq, creationTerm, hash } of knownOf(a)) placeOf.set(`${seq}/${creationTerm}`, hash);
  for (const { seq, creationTerm, hash } of knownOf(b)) {
    const known = placeOf.get(`${seq}/${creationTerm}`);
    if (known !== undefined && known !== hash) return `their logs have another entry ${seq} of term ${creationTerm}, each whole in itself`;
  }
  return a.drained.seq === b.drained.seq && a.drained.hash !== b.drained.hash
    ? `both have entry ${a.drained.seq} in their extents, and it is not the same`
    : null;
}

/** Of what has been drained the last entry is known. */
const knownOf = ({ entries, drained: { seq, term: creationTerm, hash } }: VerifiedReplica) => [...entries, { seq, creationTerm, hash }];

function problem(code: string, file: string, vdiskId: string | null, message: string): Problem {
  return { severity: 'error', code, file, vdiskId, vdisk: null, offsetBytes: null, lengthBytes: null, message };
}
