import { damagedRecord, readAs, type DamagedRecord } from '../meta/damage.js';
import { groupRecord, keys, type ContainerRecord, type GroupRecord, type NodeRecord, type VdiskRecord } from '../meta/model.js';
import { readGroups, readNodes } from '../meta/nodes.js';
import { readContainers, readVdisks } from '../meta/operations.js';
import { accusedInWords, quarantineOf } from '../meta/quarantine.js';
import type { MetadataStore } from '../meta/store.js';
import type { ManagedNode, NodeStatus } from './node.js';
import type { Health, LastProblemView, NodeView, ResyncView, ServedView } from './schemas.js';
import type { UnreadVdiskView } from './vdisk-schemas.js';

/** What all nodes of the system together are and serve, as one of them knows it: by the metadata, by signs of life, and by asking. */
export interface Survey {
  /** The node that looks. */
  readonly self: string;
  readonly nodes: readonly NodeView[];
  readonly vdisks: readonly VdiskRecord[];
  /** Those that are deleted, and whose space is still on its way back. */
  readonly deleting: number;
  readonly groups: ReadonlyMap<string, GroupRecord>;
  readonly containers: ReadonlyMap<string, ContainerRecord>;
  /** Node → what it serves; those that did not say are missing. */
  readonly served: ReadonlyMap<string, Served>;
  /** Of nodes, vdisks, groups and containers: what they say is missing above. */
  readonly damaged: readonly DamagedRecord[];
}

/** What a node said that it serves, by vdisk. */
export interface Served {
  readonly vdisks: ReadonlyMap<string, ServedView['vdisks'][number]>;
  /** What its copies take. */
  readonly usedBytes: ReadonlyMap<string, number>;
  readonly problems: ReadonlyMap<string, string>;
}

export function byVdisk({ vdisks, copies, problems }: ServedView): Served {
  const usedBytes = new Map<string, number>();
  for (const one of copies) usedBytes.set(one.vdiskId, (usedBytes.get(one.vdiskId) ?? 0) + one.usedBytes);
  return {
    vdisks: new Map(vdisks.map(one => [one.vdiskId, one])),
    usedBytes,
    problems: new Map(problems.map(one => [one.vdiskId, one.message])),
  };
}

export interface VdiskFacts {
  readonly health: Health;
  /** Why it is not healthy. */
  readonly problem: string | null;
  /** Nodes whose copies are not there; since when they have not been members. */
  readonly missing: readonly { readonly node: string; readonly since: string | null }[];
  readonly resyncing: ResyncView | null;
  readonly lastProblem: LastProblemView | null;
  readonly allocatedBytes: number | null;
  readonly logBytes: number | null;
  /** All copies, of the nodes that say. */
  readonly physicalBytes: number | null;
  readonly sessions: number;
}

export interface Surveyed {
  readonly store: MetadataStore;
  readonly node: ManagedNode;
}

/** `status`: of this node, where it is known already. */
export async function survey({ store, node }: Surveyed, status?: NodeStatus): Promise<Survey> {
  const [{ records, ...ofNodes }, ofVdisks, { groups, ...ofGroups }, ofContainers, own] = await Promise.all([
    readNodes(store),
    readVdisks(store),
    readGroups(store),
    readContainers(store),
    status ?? node.status(),
  ]);
  const everyVdisk = ofVdisks.records;
  const containers = ofContainers.records;
  const damaged = [ofNodes, ofVdisks, ofGroups, ofContainers].flatMap(of => of.damaged);
  const vdisks = everyVdisk.filter(({ deleting }) => !deleting);
  const known = records.map(record => nodeView(record, node, groups));
  const alive = new Set(known.filter(one => one.alive).map(({ id }) => id));
  const nodes = known.map(one => ({ ...one, neededBy: neededBy(one.id, alive, { vdisks, groups, containers }) }));
  const said = [servedBy(node, own), ...(await askOthers(node, nodes))];
  const told = nodes.map((one): NodeView => {
    const { version = null, startedAt = null } = said.find(answer => answer.node === one.id) ?? {};
    return { ...one, version, startedAt };
  });
  const deleting = everyVdisk.length - vdisks.length;
  const served = new Map(said.map(one => [one.node, byVdisk(one)]));
  const byName = new Map(containers.map(one => [one.name, one]));
  return { self: node.id, nodes: told, vdisks, deleting, groups, containers: byName, served, damaged };
}

/** Of those that live; those that do not say are left out. `vdiskId`: of this vdisk alone. */
async function askOthers({ id, cluster }: ManagedNode, nodes: readonly NodeView[], vdiskId?: string): Promise<ServedView[]> {
  if (cluster === null) return [];
  const others = nodes.filter(one => one.alive && one.id !== id);
  const answers = await Promise.all(others.map(one => cluster.ask(one, vdiskId)));
  return answers.filter(one => one !== null);
}

/** What concerns one vdisk, without a look at the others: what the nodes have besides, and who needs them, is left out. */
export async function surveyVdisk({ store, node }: Surveyed, vdisk: VdiskRecord): Promise<Survey> {
  const [{ records, ...ofNodes }, { group, ...ofGroup }, { records: containers, ...ofContainers }, own] = await Promise.all([
    readNodes(store),
    readGroup(store, vdisk.id),
    readContainers(store),
    node.status(vdisk.id),
  ]);
  const groups = new Map(group === null ? [] : [[vdisk.id, group]]);
  const damaged = [ofNodes, ofGroup, ofContainers].flatMap(of => of.damaged);
  const nodes = records.map(record => nodeView(record, node, groups));
  const said = [servedBy(node, own), ...(await askOthers(node, nodes, vdisk.id))];
  const served = new Map(said.map(one => [one.node, byVdisk(one)]));
  return {
    self: node.id,
    nodes,
    vdisks: [vdisk],
    deleting: 0,
    groups,
    containers: new Map(containers.map(one => [one.name, one])),
    served,
    damaged,
  };
}

async function readGroup(store: MetadataStore, vdiskId: string): Promise<{ group: GroupRecord | null; damaged: DamagedRecord[] }> {
  const found = await store.get(keys.group(vdiskId));
  const read = found === null ? { data: null, why: null } : readAs(groupRecord, found);
  return read.why === null ? { group: read.data, damaged: [] } : { group: null, damaged: [{ key: found!.key, why: read.why }] };
}

/** Most that are named. */
const MAX_NEEDED = 20;

/** Vdisks that the node controls, or whose writes would wait without it. */
function neededBy(
  id: string,
  alive: ReadonlySet<string>,
  of: { vdisks: readonly VdiskRecord[]; groups: Survey['groups']; containers: readonly ContainerRecord[] },
): string[] {
  const needed = of.vdisks.filter(vdisk => {
    const group = of.groups.get(vdisk.id);
    if (group?.members.some(member => member.node === id) !== true) return false;
    const left = group.members.filter(member => member.node !== id && alive.has(member.node)).length;
    const { minMembers = 1 } = of.containers.find(one => one.name === vdisk.container) ?? {};
    return group.controller === id || left < minMembers;
  });
  return needed.slice(0, MAX_NEEDED).map(({ name }) => name);
}

export function servedBy(
  node: Pick<ManagedNode, 'id' | 'version' | 'startedAt' | 'lastProblem' | 'reservedBytes'>,
  { vdisks, replicas, problems }: NodeStatus,
): ServedView {
  const serving = replicas.filter(({ office }) => office === 'serving');
  const served = [...vdisks.map(one => ({ ...one, resync: null })), ...serving];
  return {
    node: node.id,
    version: node.version,
    startedAt: node.startedAt,
    copies: copiesOf({ vdisks, replicas }),
    vdisks: served.map(({ vdiskId, allocatedBytes, logBytes, sessions, resync }) => {
      const last = node.lastProblem(vdiskId);
      return {
        ...{ vdiskId, allocatedBytes, logBytes, sessions },
        reservedBytes: node.reservedBytes(vdiskId),
        resyncing: resync === null ? null : resyncView(resync),
        lastProblem: last === null ? null : { at: last.at, cause: last.cause },
      };
    }),
    problems: problems.map(({ vdiskId, message }) => ({ vdiskId, message })),
  };
}

/** What each copy on a node takes. */
export function copiesOf({
  vdisks,
  replicas,
}: Pick<NodeStatus, 'vdisks' | 'replicas'>): { readonly vdiskId: string; readonly usedBytes: number }[] {
  return [...vdisks, ...replicas].map(({ vdiskId, allocatedBytes, logBytes }) => ({ vdiskId, usedBytes: allocatedBytes + logBytes }));
}

const resyncView = ({ member, sentBlocks, share, leftMs }: NonNullable<NodeStatus['replicas'][number]['resync']>): ResyncView => ({
  ...{ node: nodeOf(member), sentBlocks, share, leftMs },
});

function nodeView(record: NodeRecord, node: ManagedNode, groups: Survey['groups']): NodeView {
  const { id, storeUuid, incarnation, faultDomain, addresses, control, shards, streams, drainingSince, removal } = record;
  const beat = node.cluster === null ? undefined : node.cluster.living().find(one => one.id === id);
  const space = node.cluster === null && id === node.id ? node.space() : beat;
  const all = [...groups.values()];
  return {
    id,
    alive: id === node.id || beat !== undefined,
    storeUuid,
    incarnation,
    faultDomain,
    unix: addresses.unix,
    tcp: addresses.tcp,
    control,
    shards,
    streams,
    freeBytes: space?.freeBytes ?? null,
    totalBytes: space?.totalBytes ?? null,
    drainingSince,
    removingSince: removal?.since ?? null,
    neededBy: [],
    version: null,
    startedAt: null,
    vdisks: all.filter(({ members }) => members.some(one => one.node === id)).length,
    controls: all.filter(({ controller }) => controller === id).length,
  };
}

export function vdiskFacts({ id, container }: VdiskRecord, of: Survey): VdiskFacts {
  const group = of.groups.get(id);
  const controller = group?.controller ?? of.self;
  const said = of.served.get(controller);
  const serving = group === undefined ? [...of.served.values()].find(one => one.vdisks.has(id)) : said;
  const served = serving?.vdisks.get(id);
  const { replicationFactor: copies = 1, minMembers = 1 } = of.containers.get(container) ?? {};
  const members = group?.members.map(member => member.node) ?? [of.self];
  const silent = members.filter(member => group !== undefined && !of.nodes.some(one => one.id === member && one.alive));
  const kept = members.length - silent.length;
  // Those that left last: another node may have taken the place of one that left before.
  const gone = [...(group?.former ?? [])].slice(-Math.max(1, copies - members.length)).map(({ node, until }) => ({ node, since: until }));
  const missing = [...silent.map(node => ({ node, since: null })), ...(members.length < copies ? gone : [])];
  const told = [...of.served.values()].flatMap(one => one.usedBytes.get(id) ?? []);
  const space = {
    allocatedBytes: served?.allocatedBytes ?? null,
    logBytes: served?.logBytes ?? null,
    physicalBytes: told.length === 0 ? null : told.reduce((sum, usedBytes) => sum + usedBytes, 0),
  };
  const base = { ...space, sessions: served?.sessions ?? 0, resyncing: served?.resyncing ?? null };
  const facts = { ...base, missing, lastProblem: served?.lastProblem ?? null };
  const refusal = said?.problems.get(id) ?? of.served.get(of.self)?.problems.get(id);
  const quarantine = quarantineOf(group ?? null);
  if (quarantine !== null) return { ...facts, health: 'unavailable', problem: `its requests wait: ${accusedInWords(quarantine)}` };
  if (refusal !== undefined && served === undefined) return { ...facts, health: 'unavailable', problem: refusal };
  const unread = of.damaged.find(({ key }) => key === keys.group(id) || key === keys.container(container));
  if (unread !== undefined) return unreadable(facts, unread);
  if (kept === 0 && said === undefined) {
    return { ...facts, health: 'unavailable', problem: `${silent.join(' and ')}, with its data, ${verb(silent)} not answer` };
  }
  if (said !== undefined && served === undefined) {
    const problem = `${controller === of.self ? 'its node' : controller} does not serve it, or did not say so in time`;
    return { ...facts, health: 'unavailable', problem };
  }
  if (kept >= copies) return { ...facts, health: 'healthy', problem: null };

  const resync = base.resyncing === null ? [] : [inWords(base.resyncing)];
  const away = missing.filter(({ since }) => since !== null).map(({ node, since }) => `${node} is missing since ${since}`);
  const mute = silent.length === 0 ? [] : [`${silent.join(' and ')} ${verb(silent)} not answer`];
  const who = [...mute, ...away, ...resync].map((one, i) => `${i === 0 ? ': ' : ', '}${one}`).join('');
  if (kept < minMembers) {
    const problem = `writes wait: kept on ${kept} of ${copies} nodes now, and ${minMembers} are needed${who}`;
    return { ...facts, health: 'unavailable', problem };
  }
  if (said === undefined && silent.includes(controller)) {
    return { ...facts, health: 'degraded', problem: `its controller ${controller} does not answer; another member can take over` };
  }
  return { ...facts, health: 'degraded', problem: `kept on ${kept} of ${copies} nodes now${who}` };
}

/** Who serves it, or how many copies it is to have, is not known. What is served goes on. */
function unreadable(facts: Omit<VdiskFacts, 'health' | 'problem'>, unread: DamagedRecord): VdiskFacts {
  const isServed = facts.allocatedBytes !== null;
  return { ...facts, health: isServed ? 'degraded' : 'unavailable', problem: damagedRecord(unread).message };
}

/** Vdisks that are there, and nobody knows what their records say. A node that has read one before serves it on. */
export async function unreadVdisks(store: MetadataStore, of: Survey): Promise<UnreadVdiskView[]> {
  const unread = of.damaged.filter(({ key }) => key.startsWith(keys.vdisks));
  if (unread.length === 0) return [];
  const names = (await store.range(keys.vdiskNames)).items.map(({ key, value }) => [value, key.slice(keys.vdiskNames.length)] as const);
  const byId = new Map<unknown, string>(names);
  return unread.map(one => {
    const id = one.key.slice(keys.vdisks.length);
    const isServed = [...of.served.values()].some(({ vdisks }) => vdisks.has(id));
    const problem = `the metadata record ${one.key} is damaged: ${one.why}`;
    return { id, name: byId.get(id) ?? null, health: isServed ? 'degraded' : 'unavailable', problem };
  });
}

function inWords({ node, share, leftMs }: ResyncView): string {
  const seconds = Math.ceil((leftMs ?? 0) / 1_000);
  const left = leftMs === null ? '' : `, ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} to go`;
  return `${node} is being brought up, ${Math.floor(share * 100)} % so far${left}`;
}

const verb = (nodes: readonly string[]): string => (nodes.length === 1 ? 'does' : 'do');
/** Of node/store/incarnation. */
const nodeOf = (member: string): string => member.slice(0, member.indexOf('/'));
