import type { ProbeSnapshot } from '../base/probe.js';
import type { BeatRecord, ContainerRecord, GroupMember, VdiskRecord } from '../meta/model.js';
import type { VdiskAnswer, VdiskCommand } from '../wire/vdisk-command.js';
import type { CopyView, DamagedRecordView, NodeView, ServedView, ShardView, StorePagesView } from './schemas.js';

/** The node that the management API manages, as much of it as the API needs. The process that runs a Stargate provides it. */
export interface ManagedNode {
  readonly id: string;
  readonly storeUuid: string;
  readonly dataDirectory: string;
  /** Of the software. */
  readonly version: string;
  readonly startedAt: string;
  /** Who is to hold a new vdisk of the container; null: this node, and there is no other. Throws GatepathError. */
  place(container: ContainerRecord): Promise<readonly GroupMember[] | null>;
  /** The vdisk is in the metadata store: wins its term, resolves when it is served. Throws GatepathError. */
  serve(vdisk: VdiskRecord): Promise<void>;
  /** A vdisk is marked as being deleted: its space comes back in the background. */
  remove(): void;
  /** Something is about to be deleted: where the file system is full, what is kept back for that is given. */
  makeRoom(): void;
  /** To the vdisk's controller, where that is on this node. Throws GatepathError. */
  command(vdiskId: string, command: VdiskCommand): Promise<VdiskAnswer>;
  /** `vdiskId`: of this vdisk alone. */
  status(vdiskId?: string): Promise<NodeStatus>;
  /** What its part of a shard has written down, without asking it. */
  hops(shard: number): Readonly<Record<string, ProbeSnapshot>>;
  /** What has happened to the vdisk here that is no mere information, the last of it; null: nothing. */
  lastProblem(vdiskId: string): { readonly at: string; readonly cause: string } | null;
  /** What a vdisk with a quota, controlled here, may have used up by the time that it is counted again; null: there is none. */
  reservedBytes(vdiskId: string): number | null;
  /** What the vdisks of a container with a quota used together when they were last counted, one copy of each. */
  usedBytes(container: string): Promise<number>;
  space(): { readonly freeBytes: number; readonly totalBytes: number };
  /** The other nodes of the system; null where there is no other. */
  readonly cluster: ManagedCluster | null;
}

/** Who is asked, and where it may be found: `tcp` is HOST:PORT, `control` its management API on its own machine. */
export type AskedNode = Pick<NodeView, 'id' | 'tcp' | 'control'>;

export interface ManagedCluster {
  /** Nodes that have been heard of within the last seconds, this one too. */
  living(): readonly BeatRecord[];
  /** Asks another node what it serves, or of this vdisk alone (an older one tells of all); null: it does not say. */
  ask(node: AskedNode, vdiskId?: string): Promise<ServedView | null>;
  /** What another node has of a vdisk; null: it does not say. */
  askCopy(node: AskedNode, vdiskId: string): Promise<CopyView | null>;
  /** What the vdisk's controller says, if it is on that node; null: the node does not say. */
  askCommand(node: AskedNode, vdiskId: string, command: VdiskCommand): Promise<VdiskAnswer | null>;
}

export interface NodeStatus {
  readonly vdisks: readonly {
    readonly vdiskId: string;
    readonly allocatedBytes: number;
    readonly logBytes: number;
    readonly sessions: number;
    /** Of its log: the last entry, and the last that is in the extents. */
    readonly lastSeq: number;
    readonly drainedSeq: number;
  }[];
  /** Its replicas of vdisks that several nodes hold. One whose office is `serving` is that of the controller. */
  readonly replicas: readonly {
    readonly vdiskId: string;
    readonly office: string;
    readonly allocatedBytes: number;
    readonly logBytes: number;
    readonly sessions: number;
    readonly resync: {
      readonly member: string;
      readonly sentBlocks: number;
      readonly share: number;
      readonly leftMs: number | null;
    } | null;
    readonly historyId: number;
    /** Where its log ends. */
    readonly lastSeq: number;
    readonly drainedSeq: number;
    readonly lastTerm: number;
    /** Of it, nothing is further than the rest: no resync has ended early. */
    readonly isWhole: boolean;
    /** The end of its log may be missing. */
    readonly isTorn: boolean;
  }[];
  /** Vdisks that are not served, and why. */
  readonly problems: readonly { readonly vdiskId: string; readonly message: string }[];
  readonly shards: readonly ShardView[];
  /** Layers of deleted vdisks that are not gone yet. */
  readonly removing: number;
  /** Data in their files. */
  readonly removingBytes: number;
  /** How far the check of the block store's pages is; null: it is off, or has not begun. */
  readonly storePages: StorePagesView | null;
  /** Of the metadata, as they were found last: nobody knows what they say. */
  readonly damagedRecords: readonly DamagedRecordView[];
  /** Shards that did not answer in time. */
  readonly silentShards: number;
}
