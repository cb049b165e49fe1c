import { listHosts } from '../meta/hosts.js';
import type { HostRecord, VdiskRecord } from '../meta/model.js';
import { listAttachments } from '../meta/attachments.js';
import type { MetadataStore } from '../meta/store.js';
import type { DatapathState, ManagedDatapath } from './datapath.js';
import type { ManagedNode, NodeStatus } from './node.js';
import type { DatapathView, SessionView, StatusView } from './schemas.js';
import { within } from './within.js';
import { copiesOf, survey, vdiskFacts, type Survey } from './survey.js';

/** `status` is asked when something is wrong: it answers without the metadata, too. */
const METADATA_TIMEOUT_MS = 2_500;
/** Vdisks that are named one by one. */
const MOST_PROBLEMS = 20;

export interface StatusOptions {
  readonly version: string;
  /** The Stargate of this process, if it has one. */
  readonly storage: { readonly store: MetadataStore; readonly node: ManagedNode } | null;
  /** The datapath of this process, if it has one. */
  readonly datapath: ManagedDatapath | null;
}

/** How this process is: its Stargate, its datapath, or both. Asks nobody else, so that it answers when nobody else does. */
export class StatusService {
  constructor(private readonly options: StatusOptions) {}

  get version(): string {
    return this.options.version;
  }

  async status(): Promise<StatusView> {
    const { version, storage, datapath } = this.options;
    const [ofStorage, ofDatapath] = await Promise.all([storage && storageStatus(storage), datapath && datapathStatus(datapath)]);
    const problems = [...(ofStorage?.problems ?? []), ...(ofDatapath?.problems ?? [])];
    const unavailable = ofStorage?.isUnavailable === true;
    return {
      version,
      health: unavailable ? 'unavailable' : problems.length > 0 ? 'degraded' : 'healthy',
      problems,
      node: null,
      nodes: [],
      hosts: [],
      vdisks: null,
      space: null,
      storePages: null,
      damagedRecords: [],
      shards: [],
      ...ofStorage?.view,
      datapath: ofDatapath?.view ?? null,
    };
  }
}

async function storageStatus(storage: NonNullable<StatusOptions['storage']>) {
  const { node } = storage;
  const status = await node.status();
  const { id, storeUuid, dataDirectory, startedAt } = node;
  const view = {
    node: { id, pid: process.pid, storeUuid, dataDir: dataDirectory, startedAt },
    space: {
      ...node.space(),
      usedBytes: copiesOf(status).reduce((sum, { usedBytes }) => sum + usedBytes, 0),
      returning: { layers: status.removing, bytes: status.removingBytes },
    },
    storePages: status.storePages,
    damagedRecords: [...status.damagedRecords],
    shards: [...status.shards],
  };
  const ownProblems = status.silentShards > 0 ? [`${status.silentShards} shards do not answer`] : [];
  const damaged = status.storePages?.damaged ?? 0;
  if (damaged > 0) ownProblems.push(`${damaged} pages or records of the block store's database are damaged: "gatepath events" names them`);
  ownProblems.push(...damagedProblems(status.damagedRecords));
  try {
    const known = await within(METADATA_TIMEOUT_MS, fromMetadata(storage, status));
    return { isUnavailable: known.isUnavailable, problems: [...known.problems, ...ownProblems], view: { ...view, ...known.view } };
  } catch (error) {
    // Disks are served on without it.
    const problems = [`the metadata store does not answer: ${(error as Error).message}`, ...ownProblems];
    return { isUnavailable: false, problems, view };
  }
}

function damagedProblems(damaged: NodeStatus['damagedRecords']): string[] {
  const named = damaged.slice(0, MOST_PROBLEMS).map(({ key, why }) => `the metadata record ${key} is damaged: ${why}`);
  return damaged.length <= MOST_PROBLEMS ? named : [...named, `and ${damaged.length - MOST_PROBLEMS} more records of the metadata`];
}

async function fromMetadata({ store, node }: NonNullable<StatusOptions['storage']>, status: NodeStatus) {
  const [all, attachments, hosts] = await Promise.all([survey({ store, node }, status), listAttachments(store), listHosts(store)]);
  const vdisks = all.vdisks.map(vdisk => ({ name: vdisk.name, ...vdiskFacts(vdisk, all) }));
  const ill = vdisks.filter(({ health }) => health !== 'healthy');
  const problems = [
    ...all.nodes.filter(({ alive }) => !alive).map(({ id }) => `node "${id}" does not answer`),
    ...ill
      .slice(0, MOST_PROBLEMS)
      .map(({ name, health, problem }) => `vdisk "${name}" is ${health === 'degraded' ? health : 'not served'}: ${problem}`),
    ...(ill.length > MOST_PROBLEMS ? [`and ${ill.length - MOST_PROBLEMS} more vdisks`] : []),
  ];
  const illView = ill.slice(0, MOST_PROBLEMS).map(({ name, health, problem, missing, resyncing, lastProblem }) => {
    return { name, health, problem, missing: [...missing], resyncing, lastProblem };
  });
  const view = {
    nodes: [...all.nodes],
    hosts: hosts.map(({ host, nbdSocket }: HostRecord) => ({ name: host, nbdSocket })),
    vdisks: {
      count: all.vdisks.length,
      attached: new Set(attachments.map(({ vdiskId }) => vdiskId)).size,
      ...totals(all.vdisks, all),
      deleting: all.deleting,
      ill: illView,
    },
  };
  return { isUnavailable: ill.some(({ health }) => health === 'unavailable'), problems, view };
}

async function datapathStatus(datapath: ManagedDatapath) {
  const { host, uuid, nbdSocket, startedAt } = datapath;
  const state = await datapath.status();
  const view: DatapathView = {
    host,
    uuid,
    pid: process.pid,
    nbdSocket,
    startedAt,
    exports: [...state.exports],
    sessions: [...state.sessions],
    shards: [...state.shards],
  };
  return { problems: datapathProblems(state), view };
}

function datapathProblems({ sessions, silentShards }: DatapathState): string[] {
  const problems = sessions
    .filter(isCutOff)
    .map(({ name, shard, problem }) => `vdisk "${name}" has no path from shard ${shard}: ${problem}`);
  if (silentShards > 0) problems.push(`${silentShards} shards of the datapath do not answer`);
  return problems;
}

/** Its requests wait. A session that nobody has used yet has no path, and needs none. */
const isCutOff = ({ state, problem }: SessionView): boolean => state !== 'open' && problem !== '';

/** Sums over the vdisks: what they were made as; what their data takes in the extents and in the log, one copy of it; and all copies of both. */
export function totals(vdisks: readonly VdiskRecord[], all: Survey) {
  const facts = vdisks.map(vdisk => vdiskFacts(vdisk, all));
  return {
    sizeBytes: sum(vdisks.map(vdisk => vdisk.sizeBytes)),
    allocatedBytes: sum(facts.map(one => one.allocatedBytes ?? 0)),
    logBytes: sum(facts.map(one => one.logBytes ?? 0)),
    physicalBytes: sum(facts.map(one => one.physicalBytes ?? 0)),
  };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
