import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../base/log.js';
import { GatepathError } from '../base/errors.js';
import { holdBack } from '../meta/damage.js';
import { casGroup, idOf, replicatedVdisk, viewOf, whenTermWon, type ReplicatedVdisk } from '../meta/groups.js';
import {
  keys,
  type BeatRecord,
  type GroupMember,
  type GroupRecord,
  type NodeRecord,
  type RemovedNodeRecord,
  type VdiskRecord,
} from '../meta/model.js';
import { groupOf, isSame, readNodes } from '../meta/nodes.js';
import type { Candidate } from '../meta/placement.js';
import { removedNode } from '../meta/removals.js';
import { ReplicatedVdisks } from '../meta/replicated-vdisks.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore, Watch } from '../meta/store.js';
import type { ShardPool } from '../shard/pool.js';
import type { Removals, Seen } from '../stargate/core/replication/effects.js';
import {
  StargateTopic,
  type GroupCasDone,
  type GroupCasRequest,
  type GroupHint,
  type GroupRead,
  type GroupReadRequest,
  type VdiskDescription,
} from '../stargate/messages.js';
import type { PeerNode } from '../wire/peers.js';
import { nodeOfMember } from '../wire/replicate.js';
import { CREATE_TIMEOUT_MS } from './limits.js';

export interface ReplicasOptions {
  readonly store: MetadataStore;
  readonly self: GroupMember;
  /** Which start of the node this is. */
  readonly boot: number;
  readonly pool: ShardPool;
  readonly shardOf: (vdiskId: string) => number;
  /** Nodes that live, as far as the metadata tells. */
  readonly living: () => readonly BeatRecord[];
  /** This node has been removed from the cluster. */
  readonly onRemoved: (removed: RemovedNodeRecord) => void;
  readonly log: Logger;
}

const LIVING_INTERVAL_MS = 1_000;
/** Metadata that could not be read is read again after this time. */
const RETRY_MS = 500;

/** The main thread's part in the vdisks that several nodes hold: their records, and which nodes there are. */
export class Replicas {
  /** Told to a shard already → in which history. */
  readonly #known = new Map<string, number>();
  /** Being deleted here. */
  readonly #forgotten = new Set<string>();
  /** With `durability: flush`. */
  readonly #forgetful = new Set<string>();
  readonly #vdisks: ReplicatedVdisks;
  #nodesWatch: Watch | null = null;
  /** The next look is at all vdisks, not at those alone that have changed. */
  #isAllWanted = true;
  /** Single records that are being read. */
  #asked = 0;
  /** Node → its record, as it was read last. */
  #records: ReadonlyMap<string, NodeRecord> = new Map();
  /** Node → its fault domain. */
  #domains: ReadonlyMap<string, string | null> = new Map();
  #timer: NodeJS.Timeout | undefined;
  readonly #look = new Rerun(
    () => this.#readChanged(),
    async error => {
      this.options.log.log('warn', 'the records of groups are read again later', { error: String(error) });
      await delay(RETRY_MS);
      this.#look.ask();
    },
  );
  #isRemoved = false;

  constructor(readonly options: ReplicasOptions) {
    const { pool, store } = options;
    this.#vdisks = new ReplicatedVdisks(store, () => {
      if (this.#nodesWatch !== null) this.#look.ask();
    });
    pool.on(StargateTopic.groupCas, (message, shard) => void this.#cas(message as GroupCasRequest, shard));
    pool.on(StargateTopic.readGroup, (message, shard) => void this.#read(message as GroupReadRequest, shard));
    pool.on(StargateTopic.replicaWanted, message => void this.#wanted((message as { vdiskId: string }).vdiskId));
  }

  /** Those of which this node is a member, or may hold a replica from before. */
  async descriptions(): Promise<VdiskDescription[]> {
    await this.#sendNodes();
    const { changed: all } = await this.#vdisks.read();
    const descriptions = all.map(one => this.#description(one));
    for (const { vdiskId, historyId } of descriptions) this.#known.set(vdiskId, historyId);
    return descriptions;
  }

  /** From here on new vdisks and other controllers are noticed. */
  follow(): void {
    this.#nodesWatch = this.options.store.watch(keys.nodes, () => {
      this.#isAllWanted = true;
      this.#look.ask();
    });
    this.#look.ask();
    this.#timer = setInterval(() => this.#sendLiving(), LIVING_INTERVAL_MS);
  }

  close(): void {
    this.#look.close();
    clearInterval(this.#timer);
    this.#nodesWatch?.close();
    this.#vdisks.close();
  }

  isReplicated(vdiskId: string): Promise<boolean> {
    return replicatedVdisk(this.options.store, vdiskId).then(found => found !== null);
  }

  /** Resolves when a controller has won a term for it. */
  async served(vdisk: VdiskRecord): Promise<void> {
    this.#vdisks.notice(vdisk.id);
    this.#look.ask();
    if (await whenTermWon(this.options.store, vdisk.id, 0, CREATE_TIMEOUT_MS)) return;
    const why = 'no member of its group has taken control of it';
    throw new GatepathError('retryable', 'ERR_NOT_SERVED', `vdisk "${vdisk.name}" is not served: ${why}`, 'see the logs of its nodes');
  }

  /** It is being deleted: nothing of it is begun here any more, by whatever was read before that. */
  forget(vdiskId: string): void {
    this.#forgotten.add(vdiskId);
  }

  #description({ vdisk, group, replicationFactor, minMembers, durability }: ReplicatedVdisk): VdiskDescription {
    const { id: vdiskId, sizeBytes } = vdisk;
    const { term, nonce, controller, historyId } = viewOf(group);
    const isMember = group.members.some(one => isSame(one, this.options.self));
    if (durability === 'flush') this.#forgetful.add(vdiskId);
    const { recovered } = group;
    const isOrigin = recovered !== undefined && isSame(recovered.origin, this.options.self);
    const origin = isOrigin ? { generation: recovered.generation } : null;
    return {
      ...{ vdiskId, sizeBytes, historyId, term, nonce, durability },
      group: { replicationFactor, minMembers, controller, isMember, origin },
    };
  }

  /** The record names this process: with `durability: flush` not one that has ended. */
  #isIn({ group, durability }: ReplicatedVdisk): boolean {
    const { self, boot } = this.options;
    return group.members.some(one => isSame(one, self) && (durability !== 'flush' || one.boot === boot));
  }

  // ---------------------------------------------------------------- records

  async #cas({ vdiskId, expectedEpoch, group }: GroupCasRequest, shard: number): Promise<void> {
    const { store, pool, log } = this.options;
    const outcome = await casGroup(store, vdiskId, expectedEpoch, group).catch((error: unknown) => {
      log.log('error', 'a group record could not be changed', { vdiskId, error: String(error) });
      return { kind: 'unknown' } as const;
    });
    if (!this.#look.isClosed) pool.send(shard, StargateTopic.groupCasDone, { vdiskId, nonce: group.nonce, outcome } satisfies GroupCasDone);
  }

  /** Not answered when it cannot be read: the machines ask again. */
  async #read({ vdiskId, readId }: GroupReadRequest, shard: number): Promise<void> {
    const { store, pool } = this.options;
    const group = await groupOf(store, vdiskId).catch(() => null);
    const seen = group !== null && this.#forgetful.has(vdiskId) ? await this.#seen(group).catch(() => null) : undefined;
    if (group !== null && seen !== null && !this.#look.isClosed)
      pool.send(shard, StargateTopic.groupRead, { vdiskId, readId, group: viewOf(group), seen } satisfies GroupRead);
  }

  /** Each start of a node is registered before it serves: an earlier one than that has ended. Throws where nobody knows of a member which start is its last. */
  async #seen({ members }: GroupRecord): Promise<Seen> {
    const { records, damaged } = await readNodes(this.options.store);
    const unknown = damaged.filter(({ key }) => members.some(({ node }) => keys.node(node) === key));
    holdBack(unknown, 'nobody takes over');
    const current = records.map(({ id: node, storeUuid, incarnation, bootCount }) =>
      idOf({ node, storeUuid, incarnation, boot: bootCount }),
    );
    return { current, living: this.options.living().map(({ id }) => id) };
  }

  async #wanted(vdiskId: string): Promise<void> {
    this.#asked++;
    const found = await replicatedVdisk(this.options.store, vdiskId).catch(() => null);
    this.#asked--;
    if (found === null || this.#look.isClosed) return;
    // Wanted by a controller, so it is a learner, which may begin with nothing.
    const description = this.#description(found);
    this.#create({ ...description, group: { ...description.group!, isMember: true, isLearner: !this.#isIn(found) } });
  }

  #create(description: VdiskDescription): void {
    if (this.#forgotten.has(description.vdiskId)) return;
    this.#known.set(description.vdiskId, description.historyId);
    this.options.pool.send(this.options.shardOf(description.vdiskId), StargateTopic.create, description);
  }

  // ---------------------------------------------------------------- changes

  async #readChanged(): Promise<void> {
    const sinceMs = performance.now();
    const isAll = this.#isAllWanted;
    this.#isAllWanted = false;
    try {
      await this.#sendNodes();
      const { changed, ended } = await this.#vdisks.read();
      for (const one of isAll ? this.#vdisks.all() : changed) this.#found(one);
      this.#endOf(ended);
    } catch (error) {
      this.#isAllWanted ||= isAll;
      throw error;
    }
    // Of a thousand vdisks that change hands one by one each asks for a look: half of the time belongs to the changes themselves.
    if (this.#look.isWanted) await delay(performance.now() - sinceMs);
  }

  /** Nothing is kept of vdisks that are no more. */
  #endOf(ended: readonly string[]): void {
    for (const id of ended) for (const of of [this.#known, this.#forgetful]) of.delete(id);
    // What was asked before may still be answered as it was then.
    if (this.#asked > 0) return;
    for (const id of this.#forgotten) if (!this.#vdisks.isLiving(id)) this.#forgotten.delete(id);
  }

  #found(one: ReplicatedVdisk): void {
    if (this.#look.isClosed) return;
    const description = this.#description(one);
    const { vdiskId, term, historyId } = description;
    const { isMember, controller } = description.group!;
    const known = this.#known.get(vdiskId);
    // One that is not known is this node's business as a member; one that has another history now, whatever it has of it.
    if (known === undefined ? isMember : known < historyId) this.#create(description);
    const hint: GroupHint = {
      vdiskId,
      controllerNode: nodeOfMember(controller),
      term,
      memberNodes: one.group.members.filter(({ node }) => node !== this.options.self.node || this.#isIn(one)).map(({ node }) => node),
    };
    this.options.pool.send(this.options.shardOf(vdiskId), StargateTopic.groupHint, hint);
  }

  /** This node is not known any more. Told once: whoever runs it ends it. */
  async #findRemoved(): Promise<void> {
    const { store, self, onRemoved } = this.options;
    const removed = await removedNode(store, self);
    if (removed !== null && !this.#look.isClosed && !this.#isRemoved) {
      this.#isRemoved = true;
      onRemoved(removed);
    }
  }

  #sendLiving(): void {
    const { pool, living } = this.options;
    // A node that has been removed may say so for a moment.
    const known = living().filter(({ id }) => this.#domains.has(id));
    const candidates = known.map(({ id: node, storeUuid, incarnation, freeBytes }): Candidate => ({
      member: { node, storeUuid, incarnation },
      freeBytes,
      faultDomain: this.#domains.get(node) ?? null,
    }));
    pool.broadcast(StargateTopic.living, candidates);
  }

  /** One whose record is damaged is what it was, or unknown. */
  async #nodes(): Promise<NodeRecord[]> {
    const { records, damaged } = await readNodes(this.options.store);
    const kept = damaged.flatMap(({ key }) => this.#records.get(key.slice(keys.nodes.length)) ?? []);
    const all = [...records, ...kept];
    this.#records = new Map(all.map(one => [one.id, one]));
    return all;
  }

  async #sendNodes(): Promise<void> {
    const { self, pool } = this.options;
    const all = await this.#nodes();
    this.#domains = new Map(all.map(({ id, faultDomain }) => [id, faultDomain]));
    const nodes = all.filter(({ id }) => id !== self.node);
    const peers = nodes.map(({ id: node, storeUuid, incarnation, bootCount, addresses, shards, streams }): PeerNode => ({
      ...{ node, storeUuid, incarnation, boot: bootCount, shards, streams },
      unix: addresses.unix,
      tcp: addresses.tcp,
    }));
    if (this.#look.isClosed) return;
    pool.broadcast(StargateTopic.nodes, peers);
    const draining = all.filter(({ drainingSince }) => drainingSince !== null).map(({ id }) => id);
    pool.broadcast(StargateTopic.draining, draining);
    const removals: Removals = new Map(all.flatMap(({ id, removal }) => (removal === null ? [] : [[id, removal.copies]])));
    pool.broadcast(StargateTopic.removals, removals);
    if (!all.some(({ storeUuid }) => storeUuid === self.storeUuid)) await this.#findRemoved();
  }
}
