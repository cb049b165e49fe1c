import { silentEvents, type EventSink } from '../base/events.js';
import type { Logger } from '../base/log.js';
import { NodeBeats, refuseTaken } from '../meta/beats.js';
import type { EtcdOptions } from '../meta/etcd-options.js';
import type { BeatRecord, ContainerRecord, GroupMember, NodeAddresses, ReplicationFactor } from '../meta/model.js';
import { listNodes, registerNode } from '../meta/nodes.js';
import { ensureDefaultContainer } from '../meta/operations.js';
import { removedNode } from '../meta/removals.js';
import { placeMembers } from '../meta/placement.js';
import type { MetadataStore } from '../meta/store.js';
import { keepBoot, keepRemoved, type DataDirectory } from '../stargate/data-directory.js';
import { whereStoreIsDamaged } from './damaged-store.js';
import { openMetadataStore } from './metadata-store.js';
import { spaceOf } from './space.js';

export interface NodeMetadataOptions {
  readonly directory: DataDirectory;
  readonly nodeId: string;
  readonly shards: number;
  readonly addresses: NodeAddresses;
  readonly faultDomain?: string | null;
  readonly control: string;
  readonly etcd: EtcdOptions | null;
  readonly clusterId: string | null;
  /** Of vdisks in the container "default", where that is made now. */
  readonly replicationFactor: ReplicationFactor;
  readonly log: Logger;
  readonly onProgress: (line: string) => void;
  readonly events?: EventSink;
}

/** So long a new vdisk waits for nodes that are on their way. */
const PLACE_TIMEOUT_MS = 5_000;

/** The metadata store as one node has it: opened, with the node registered in it. */
export class NodeMetadata {
  readonly #beats: NodeBeats | null;

  private constructor(
    readonly store: MetadataStore,
    /** Who this node is for the groups of vdisks. */
    readonly member: GroupMember,
    /** Which of its starts this is. */
    readonly boot: number,
    /** Other nodes use it too. */
    readonly isShared: boolean,
    { directory, log }: NodeMetadataOptions,
  ) {
    const { node: id, storeUuid, incarnation } = member;
    const self = { id, storeUuid, incarnation };
    this.#beats = isShared ? new NodeBeats({ store, self, space: () => spaceOf(directory.path), log }) : null;
  }

  static async open(options: NodeMetadataOptions): Promise<NodeMetadata> {
    const { directory, nodeId, shards, addresses, faultDomain = null, control, etcd, events = silentEvents } = options;
    const giveUp = whereStoreIsDamaged({ directory, nodeId, isShared: etcd !== null, events });
    const { store, isShared } = await openMetadataStore(options);
    try {
      const { storeUuid, streams } = directory;
      const node = { id: nodeId, storeUuid, addresses, shards, streams, faultDomain, control, boot: directory.boot };
      const removed = await removedNode(store, node);
      // With the next start it is known without the metadata.
      if (removed !== null) keepRemoved(directory.path, removed.at);
      if (isShared) await refuseTaken(store, node);
      const boot = giveUp === undefined ? directory.boot : await giveUp(store);
      const { incarnation, bootCount } = await registerNode(store, { ...node, boot });
      keepBoot(directory.path, { incarnation, bootCount });
      await ensureDefaultContainer(store, { replicationFactor: options.replicationFactor });
      return new NodeMetadata(store, { node: nodeId, storeUuid, incarnation }, bootCount, isShared, options);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** This node first. */
  living(): BeatRecord[] {
    return this.#beats?.living() ?? [];
  }

  /** Null: this node alone, which makes the group when it serves the vdisk. */
  async place({ replicationFactor }: ContainerRecord): Promise<readonly GroupMember[] | null> {
    const beats = this.#beats;
    if (beats === null) {
      if (replicationFactor === 1) return null;
      return placeMembers({ replicationFactor, localNode: this.member.node }, [{ member: this.member, freeBytes: 0, faultDomain: null }]);
    }
    await beats.whenLiving(replicationFactor, PLACE_TIMEOUT_MS);
    const nodes = await listNodes(this.store);
    const domains = new Map(nodes.map(({ id, faultDomain }) => [id, faultDomain]));
    const draining = new Set(nodes.filter(({ drainingSince }) => drainingSince !== null).map(({ id }) => id));
    const removed = new Set(nodes.filter(({ removal }) => removal !== null).map(({ id }) => id));
    const living = beats.living().filter(({ id }) => domains.has(id) && !removed.has(id));
    const onDuty = living.filter(({ id }) => !draining.has(id));
    // Better a copy that has to wait for its node than none.
    const candidates = (onDuty.length >= replicationFactor ? onDuty : living).map(({ id, storeUuid, incarnation, freeBytes }) => ({
      member: { node: id, storeUuid, incarnation },
      freeBytes,
      faultDomain: domains.get(id) ?? null,
    }));
    return placeMembers({ replicationFactor, localNode: this.member.node }, candidates);
  }

  async close(): Promise<void> {
    await this.#beats?.close();
    await this.store.close();
  }
}
