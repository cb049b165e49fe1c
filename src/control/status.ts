import { listHosts } from '../meta/hosts.js';
import type { HostRecord, VdiskRecord } from '../meta/model.js';
import { listAttachments, livingVdisks } from '../meta/operations.js';
import type { MetadataStore } from '../meta/store.js';
import type { DatapathState, ManagedDatapath } from './datapath.js';
import type { ManagedNode, NodeStatus } from './node.js';
import type { DatapathView, SessionView, StatusView } from './schemas.js';

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
      hosts: [],
      vdisks: null,
      space: null,
      shards: [],
      ...ofStorage?.view,
      datapath: ofDatapath?.view ?? null,
    };
  }
}

async function storageStatus({ store, node }: NonNullable<StatusOptions['storage']>) {
  const [status, vdisks, attachments, hosts] = await Promise.all([
    node.status(),
    livingVdisks(store),
    listAttachments(store),
    listHosts(store),
  ]);
  const nameOf = (vdiskId: string): string => vdisks.find(vdisk => vdisk.id === vdiskId)?.name ?? vdiskId;
  const problems = status.problems.map(({ vdiskId, message }) => `vdisk "${nameOf(vdiskId)}" is not served: ${message}`);
  if (status.silentShards > 0) problems.push(`${status.silentShards} shards do not answer`);
  const { id, storeUuid, dataDirectory, startedAt } = node;
  const view = {
    node: { id, pid: process.pid, storeUuid, dataDir: dataDirectory, startedAt },
    hosts: hosts.map(({ host, nbdSocket }: HostRecord) => ({ name: host, nbdSocket })),
    vdisks: { count: vdisks.length, attached: attachments.length, ...totals(vdisks, status) },
    space: node.space(),
    shards: [...status.shards],
  };
  return { isUnavailable: status.problems.length > 0, problems, view };
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

/** Sums over the vdisks: what they were made as, and what the data that has left the log takes. */
export function totals(vdisks: readonly VdiskRecord[], status: NodeStatus): { sizeBytes: number; allocatedBytes: number } {
  const ids = new Set(vdisks.map(vdisk => vdisk.id));
  const allocated = status.vdisks.filter(one => ids.has(one.vdiskId)).map(one => one.allocatedBytes);
  return { sizeBytes: sum(vdisks.map(vdisk => vdisk.sizeBytes)), allocatedBytes: sum(allocated) };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
