import { GatepathError } from '../base/errors.js';
import { holdBack } from '../meta/damage.js';
import { historyOf, whenTermWon } from '../meta/groups.js';
import { keys, type GroupMember, type GroupRecord, type VdiskRecord } from '../meta/model.js';
import { groupOf } from '../meta/nodes.js';
import { findVdisk } from '../meta/operations.js';
import { recoverVdisk } from '../meta/recovery.js';
import type { NodeStatus } from './node.js';
import type { CopyView, RecoverRequest, RecoveredView, RecoveryView } from './schemas.js';
import { survey, vdiskFacts, type Survey, type Surveyed } from './survey.js';

/** The last resort for a vdisk of which no member returns (rule 11): what is known of its copies, and going on from one of them with the loss of what only others had. */

/** From the record to a controller: its log goes into the extents first. */
const SERVED_TIMEOUT_MS = 50_000;

/** What this node has of a vdisk. */
export function copyOf(nodeId: string, vdiskId: string, { replicas, problems }: NodeStatus): CopyView {
  const found = replicas.find(one => one.vdiskId === vdiskId);
  const problem = problems.find(one => one.vdiskId === vdiskId)?.message ?? null;
  if (found === undefined) return { node: nodeId, copy: null, problem, allocatedBytes: null };
  const { historyId, lastSeq, lastTerm, isWhole, isTorn, office, allocatedBytes } = found;
  return {
    node: nodeId,
    copy: { historyId, lastSeq, lastTerm, isWhole, isTorn, isServing: office === 'serving' },
    problem,
    allocatedBytes,
  };
}

interface Looked {
  readonly view: RecoveryView;
  readonly group: GroupRecord;
  readonly all: Survey;
}

export async function lookAtCopies(options: Surveyed, name: string): Promise<Looked> {
  const { store, node } = options;
  const status = await node.status();
  const all = await survey(options, status);
  const vdisk = await findVdisk(store, name);
  const group = await groupOf(store, vdisk.id);
  if (group === null) throw new GatepathError('retryable', 'ERR_NOT_SERVED', `vdisk "${name}" has no group yet`, 'try again in a moment');
  // Of a node, or what the vdisk's container wants: it may have another way back.
  const unread = all.damaged.filter(({ key }) => key.startsWith(keys.nodes) || key === keys.container(vdisk.container));
  holdBack(unread, `vdisk "${name}" is not recovered`);
  const living = all.nodes.filter(({ alive, id }) => alive && id !== node.id);
  const asked = await Promise.all(living.map(one => node.cluster?.askCopy(one, vdisk.id) ?? Promise.resolve(null)));
  const copies = [copyOf(node.id, vdisk.id, status), ...asked.filter(one => one !== null)];
  const silent = living.filter(({ id }) => !copies.some(one => one.node === id)).map(({ id }) => id);
  const known = { vdisk, group, all, copies, silent };
  const refusal = refusalOf(known);
  const candidates = copies.filter(one => isFit(one, group)).sort(byFreshness);
  return { view: { ...viewOf(known), copies, silent, refusal, best: refusal === null ? (candidates[0]?.node ?? null) : null }, group, all };
}

interface Known {
  readonly vdisk: VdiskRecord;
  readonly group: GroupRecord;
  readonly all: Survey;
  readonly copies: readonly CopyView[];
  /** Nodes that live and did not say what they have. */
  readonly silent: readonly string[];
}

function viewOf({ vdisk, group, all }: Known): Pick<RecoveryView, 'vdisk' | 'historyId' | 'epoch' | 'term' | 'members' | 'missing'> {
  const { missing } = vdiskFacts(vdisk, all);
  const members = group.members.map(({ node }) => node);
  return { vdisk: vdisk.name, historyId: historyOf(group), epoch: group.epoch, term: group.term, members, missing: [...missing] };
}

/** Why it is not to be recovered by force: it has another way back, or would be torn from somebody who has it. */
function refusalOf({ vdisk, group, all, copies, silent }: Known): string | null {
  if ((all.containers.get(vdisk.container)?.replicationFactor ?? 1) === 1) return 'it is kept on one node alone: bring that one back';
  const serving = copies.find(({ copy }) => copy?.isServing === true);
  if (serving !== undefined) return `node "${serving.node}" serves it`;
  for (const { node } of group.members) {
    if (silent.includes(node)) return `node "${node}" is a member and lives, but does not say what it has: ask at that node, or stop it`;
    const there = copies.find(one => one.node === node);
    const mayTakeOver = there?.copy != null && there.problem === null && there.copy.historyId === historyOf(group) && !there.copy.isTorn;
    if (mayTakeOver) return `node "${node}" is a member and is there: it takes over when a datapath wants the vdisk`;
  }
  return null;
}

function isFit({ copy, problem }: CopyView, group: GroupRecord): boolean {
  return copy !== null && problem === null && copy.isWhole && copy.historyId === historyOf(group);
}

/** The one with most of the log first. */
function byFreshness(a: CopyView, b: CopyView): number {
  return b.copy!.lastTerm - a.copy!.lastTerm || b.copy!.lastSeq - a.copy!.lastSeq;
}

export async function recover(options: Surveyed, name: string, { from, acceptDataLoss }: RecoverRequest): Promise<RecoveredView> {
  const { view, group, all } = await lookAtCopies(options, name);
  const refuse = (code: string, why: string, action: string): GatepathError =>
    new GatepathError('invalid', code, `vdisk "${name}" is not recovered by force: ${why}`, action);
  if (view.refusal !== null) throw refuse('ERR_NOT_LOST', view.refusal, 'gatepath vdisk show tells how it is');
  const origin = choose(view, group, all, from, refuse);
  if (!acceptDataLoss) {
    const why = `what was acknowledged behind the end of the copy on node "${origin.node}" would be lost for good`;
    throw refuse('ERR_DATA_LOSS', why, 'bring a missing member back; or, if that is impossible, say --accept-data-loss');
  }
  const record = await recoverVdisk(options.store, name, origin, group.epoch);
  const { historyId } = record.recovered!;
  const isServed = await whenTermWon(options.store, record.vdiskId, record.epoch, SERVED_TIMEOUT_MS);
  return { vdisk: name, from: origin.node, historyId, isServed };
}

type Refuse = (code: string, why: string, action: string) => GatepathError;

function choose(
  { copies, silent, best }: RecoveryView,
  group: GroupRecord,
  all: Survey,
  from: string | undefined,
  refuse: Refuse,
): GroupMember {
  const wanted = from ?? best;
  if (from === undefined && silent.length > 0) {
    const why = `node "${silent.join('", "')}" may have a copy too, and cannot be asked from here`;
    throw refuse('ERR_COPIES_UNKNOWN', why, 'look there, then name the node to go on from: --from NODE');
  }
  if (wanted === null) throw refuse('ERR_NO_COPY', 'no node that lives has a whole copy', 'start a node that has been a member');
  const node = all.nodes.find(({ id }) => id === wanted);
  if (node?.alive !== true) throw refuse('ERR_NO_COPY', `node "${wanted}" does not live`, 'start it, or name another one');
  const there = copies.find(one => one.node === wanted);
  if (there !== undefined && !isFit(there, group)) {
    throw refuse('ERR_NO_COPY', `node "${wanted}" has no whole copy: ${there.problem ?? shortcoming(there, group)}`, 'name another one');
  }
  const { id, storeUuid, incarnation } = node;
  return { node: id, storeUuid, incarnation };
}

export function shortcoming({ copy }: CopyView, group: Pick<GroupRecord, 'recovered'>): string {
  if (copy === null) return 'it has nothing of it';
  return copy.historyId === historyOf(group) ? 'it was being brought up when the others were lost' : `it is of history ${copy.historyId}`;
}
