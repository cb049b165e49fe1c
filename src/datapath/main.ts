import type { Logger } from '../base/log.js';
import type { ProbeSnapshot, ProbeSummary, Probes } from '../base/probe.js';
import type { AttachmentRecord, NodeRecord } from '../meta/model.js';
import type { MetadataStore } from '../meta/store.js';
import { ShardQuestions, type AskedShards } from '../shard/questions.js';
import { AttachmentWatcher } from './attach.js';
import { ExportTable } from './export-table.js';
import { TermFloors } from './floors.js';
import { HandOver, type DatapathState, type HandedOverDatapath } from './hand-over.js';
import { STATUS_TIMEOUT_MS } from './limits.js';
import type { KnownGroup, KnownNode } from './nodes.js';
import type { PathTarget } from './paths.js';
import { Quarantines } from './quarantines.js';
import { TopologyWatcher } from './topology.js';
import { DatapathProbes, type DatapathHops, type VdiskProbes } from './probes.js';
import {
  DatapathTopic,
  type Accusation,
  type ExportDescription,
  type ExportKey,
  type ExportResize,
  type SessionProbesOpened,
  type SessionStatus,
  type ShardStatus,
} from './messages.js';

/** The process's shards, as the datapath's main thread sees them; ShardPool is one. */
export interface DatapathShards extends AskedShards {
  probes(shard: number): Probes;
}

export interface DatapathMainOptions {
  readonly store: MetadataStore;
  /** Name of this host; its attachments are exported. */
  readonly host: string;
  readonly shards: DatapathShards;
  readonly acceptingShard: number;
  readonly log: Logger;
  /** The Stargate of this machine; absent: its vdisks are all in this process, and no other node is looked for. */
  readonly local?: PathTarget;
  /** Its node's id; absent: that of the node with the same Unix socket. */
  readonly localNode?: string | null;
  /** The nodes are others than before. */
  readonly onNodes?: (records: readonly NodeRecord[]) => void;
  /** The process that this one follows: what it exports, this one exports too. */
  readonly follows?: DatapathState;
  /** Of this vdisk something has been exported, is about to go, or has gone: see {@link DatapathMain.exportsOf}. */
  readonly onChange?: (vdiskId: string) => void;
}

export interface ExportStatus {
  readonly vdiskId: string;
  readonly name: string;
  readonly generation: number;
  readonly sizeBytes: number;
  /** It does not hold the vdisk: not activated yet, or not in all shards. */
  readonly shared: boolean;
  /** Clients find it. */
  readonly exported: boolean;
  /** Detached, and not let go of yet. */
  readonly ending: boolean;
  /** Why its requests wait until somebody releases it; null: they do not. */
  readonly quarantine: string | null;
}

export interface DatapathStatus {
  readonly exports: readonly ExportStatus[];
  /** One per export and shard. */
  readonly sessions: readonly (SessionStatus & { readonly shard: number })[];
  /** Of the shards that answered in time. */
  readonly shards: readonly { readonly shard: number; readonly hops: DatapathHops<ProbeSummary> }[];
}

interface Export {
  readonly description: ExportDescription;
  /** Shards that were told to add it, that have, and that have removed it. */
  readonly told: Set<number>;
  readonly added: Set<number>;
  readonly removed: Set<number>;
  /** null: of an attachment that is shared; else the shards that are still to open what they have of it as the holder's. */
  activating: Set<number> | null;
  removing: boolean;
  /** What it is to be; and what all shards have told their connections. */
  sizeBytes: number;
  offeredBytes: number;
  /** Shards that are still to follow. */
  readonly resizing: Set<number>;
}

/** The datapath's part of the main thread: turns the host's attachments into exports of all shards. */
export class DatapathMain {
  readonly #exports = new ExportTable<Export>();
  /** Those that clients do not find yet. */
  readonly #starting = new Set<Export>();
  readonly #floors: TermFloors;
  /** Of the process before this one, and not attached here yet. */
  readonly #followed: Set<string>;
  readonly #watcher: AttachmentWatcher;
  readonly #probes: DatapathProbes;
  readonly #handOver: HandOver;
  readonly #topology: TopologyWatcher | null;
  readonly #quarantines: Quarantines;
  /** By vdisk; told to a shard again when the vdisk is attached again. */
  readonly #groups = new Map<string, KnownGroup>();
  readonly #status: ShardQuestions<ShardStatus>;
  #onChange: (() => void)[] = [];

  constructor(private readonly options: DatapathMainOptions) {
    const { store, host, shards, log, follows } = options;
    this.#probes = new DatapathProbes(shards);
    this.#status = new ShardQuestions(shards, DatapathTopic.status, DatapathTopic.statusReply, STATUS_TIMEOUT_MS);
    this.#handOver = new HandOver(shards, options.acceptingShard);
    this.#floors = new TermFloors(store, vdiskId => this.#exports.of(vdiskId).length > 0, follows?.floors);
    this.#followed = new Set(follows?.attachments.map(({ vdiskId }) => vdiskId));
    this.#quarantines = new Quarantines({ store, host, log, floorOf: vdiskId => this.#floors.of(vdiskId) });
    shards.on(DatapathTopic.accused, message => this.#quarantines.accused(message as Accusation));
    shards.on(DatapathTopic.added, (message, shard) => this.#onAdded(message as ExportKey, shard));
    shards.on(DatapathTopic.removed, (message, shard) => this.#onRemoved(message as ExportKey, shard));
    shards.on(DatapathTopic.activated, (message, shard) => this.#onActivated(message as ExportKey, shard));
    shards.on(DatapathTopic.probes, (message, shard) => this.#probes.opened(message as SessionProbesOpened, shard));
    shards.on(DatapathTopic.resized, (message, shard) => this.#onResized(message as ExportResize, shard));
    this.#topology = this.#startTopology();
    this.#watcher = new AttachmentWatcher(
      store,
      host,
      {
        onAttached: attachment => this.#attach(attachment),
        onDetached: attachment => this.#detach(attachment),
        onActivated: attachment => this.#activate(attachment),
        onResized: attachment => this.#resize(attachment),
      },
      log,
      follows?.attachments,
    );
  }

  /** The exports there are, are about to be, or are on their way out, without asking the shards. */
  get exports(): readonly ExportStatus[] {
    return [...this.#exports.values()].map(one => this.#statusOf(one));
  }

  /** Of one vdisk: that of its attachment, and those of former ones that still have sessions or connections. */
  exportsOf(vdiskId: string): readonly ExportStatus[] {
    return this.#exports.of(vdiskId).map(one => this.#statusOf(one));
  }

  /** Resolves when the vdisk can be found by NBD clients; rejects after `timeoutMs`. */
  async whenExported(vdiskId: string, timeoutMs: number): Promise<void> {
    await this.#when(() => this.#exports.of(vdiskId).some(one => this.#isExported(one)), timeoutMs, `vdisk ${vdiskId} is not exported`);
  }

  /** Resolves when all that is attached, as far as is known, can be found by NBD clients. */
  async whenAllExported(timeoutMs: number): Promise<void> {
    await this.#when(() => this.#starting.size === 0, timeoutMs, 'the vdisks are not exported');
  }

  // ---------------------------------------------------------------- another process

  /** For a process that is to follow this one. */
  get state(): DatapathState {
    return { attachments: this.#watcher.attachments, floors: this.#floors.terms };
  }

  /** Lets go of all listeners and connections; rejects, and serves on, where that does not come to pass in time. */
  handOver(deadlineMs: number): Promise<HandedOverDatapath> {
    return this.#handOver.give(deadlineMs);
  }

  /** Goes on with what was handed over, by this process or another. */
  takeOver(handed: HandedOverDatapath, isOwn: boolean): void {
    this.#handOver.take(handed, isOwn);
  }

  /** Resolves when no connection and no session of the vdisk is left. */
  async whenRemoved(vdiskId: string, timeoutMs: number): Promise<void> {
    await this.#when(() => this.#exports.of(vdiskId).length === 0, timeoutMs, `vdisk ${vdiskId} is still in use`);
  }

  async status(): Promise<DatapathStatus> {
    const answered = await this.#status.ask();
    const sessions = answered.flatMap(({ shard, answer }) =>
      answer.sessions.map(session => ({ ...session, problem: this.#quarantines.problemOf(session.vdiskId) ?? session.problem, shard })),
    );
    sessions.sort((a, b) => a.name.localeCompare(b.name) || a.shard - b.shard);
    return {
      exports: this.exports,
      sessions,
      shards: answered.map(({ shard }) => ({ shard, hops: this.#probes.hops(shard, one => one.summary()) })),
    };
  }

  /** What the probes of a shard's hops have, without asking it. */
  hops(shard: number): DatapathHops<ProbeSnapshot> {
    return this.#probes.hops(shard, one => one.snapshot());
  }

  /** What the sessions have written down, by vdisk, without asking the shards. */
  vdiskProbes(): VdiskProbes[] {
    return this.#probes.vdisks();
  }

  /** Follows the attachments no longer; the exports stay until the shards stop. */
  close(): void {
    this.#watcher.close();
    this.#topology?.close();
    this.#quarantines.close();
  }

  #isExported({ removing, added }: Export): boolean {
    return !removing && added.size === this.options.shards.count;
  }

  #statusOf(one: Export): ExportStatus {
    const { description, offeredBytes: sizeBytes, activating, removing } = one;
    const { vdiskId, name, generation } = description;
    const shared = activating === null || activating.size > 0;
    return {
      vdiskId,
      name,
      generation,
      sizeBytes,
      shared,
      exported: this.#isExported(one),
      ending: removing,
      quarantine: this.#quarantines.problemOf(vdiskId),
    };
  }

  #startTopology(): TopologyWatcher | null {
    const { store, local, localNode = null, log, onNodes } = this.options;
    if (local === undefined) return null;
    return new TopologyWatcher({
      store,
      local,
      localNode,
      log,
      onNodes: (nodes, records) => {
        this.#broadcast(DatapathTopic.nodes, nodes satisfies readonly KnownNode[]);
        onNodes?.(records);
      },
      onRead: (vdiskId, record) => this.#quarantines.read(vdiskId, record),
      onGroup: group => {
        this.#groups.set(group.vdiskId, group);
        this.#broadcast(DatapathTopic.group, group);
      },
    });
  }

  #broadcast(topic: string, message: unknown): void {
    const { shards } = this.options;
    for (let shard = 0; shard < shards.count; shard++) shards.send(shard, topic, message);
  }

  #attach({ vdiskId, vdiskName, generation, sizeBytes, shared, activatedAt }: AttachmentRecord): void {
    const { shards, acceptingShard, log } = this.options;
    const floor = this.#floors.of(vdiskId);
    // What the process before this one has handed over is not held.
    if (this.#topology !== null && !this.#followed.delete(vdiskId)) this.#quarantines.attached(vdiskId);
    const description: ExportDescription = { vdiskId, generation, name: vdiskName, sizeBytes, shared, floor };
    const none = { told: new Set<number>(), added: new Set<number>(), removed: new Set<number>(), resizing: new Set<number>() };
    const one: Export = { description, ...none, activating: null, removing: false, sizeBytes, offeredBytes: sizeBytes };
    // Perhaps in the record alone: the datapath before this one may have gone before it could tell the controller.
    if (!shared) one.activating = activatedAt === undefined ? new Set() : this.#allShards();
    this.#exports.add(one);
    this.#starting.add(one);
    this.#topology?.add(vdiskId);
    const group = this.#groups.get(vdiskId);
    if (group !== undefined) this.#broadcast(DatapathTopic.group, group);
    log.log('info', 'exporting a vdisk', { vdisk: vdiskName, generation, sizeBytes, shared });
    // The accepting shard last: it moves connections to the others, which have to know the export by then.
    for (let shard = 0; shard < shards.count; shard++) if (shard !== acceptingShard) this.#sendAdd(one, shard);
    if (shards.count === 1) this.#sendAdd(one, acceptingShard);
  }

  #sendAdd(one: Export, shard: number): void {
    one.told.add(shard);
    this.options.shards.send(shard, DatapathTopic.add, one.description);
  }

  #detach(attachment: AttachmentRecord): void {
    const one = this.#exports.get(attachment);
    if (one === undefined || one.removing) return;
    one.removing = true;
    this.#starting.delete(one);
    this.options.log.log('info', 'a vdisk is exported no longer', { vdisk: attachment.vdiskName, generation: attachment.generation });
    for (const shard of one.added) this.#sendRemove(one, shard);
    this.#finish(one);
    this.#changed(attachment.vdiskId);
  }

  #sendRemove({ description: { vdiskId, generation } }: Export, shard: number): void {
    this.options.shards.send(shard, DatapathTopic.remove, { vdiskId, generation } satisfies ExportKey);
  }

  #onAdded(key: ExportKey, shard: number): void {
    const { shards, acceptingShard } = this.options;
    const one = this.#exports.get(key);
    if (one === undefined) return;
    one.added.add(shard);
    if (this.#isExported(one)) this.#starting.delete(one);
    if (one.activating?.has(shard) === true) this.#sendActivate(one, shard);
    if (one.resizing.has(shard) || one.sizeBytes !== one.description.sizeBytes) this.#sendResize(one, shard);
    if (one.removing) this.#sendRemove(one, shard);
    else if (shard !== acceptingShard && one.added.size === shards.count - 1) this.#sendAdd(one, acceptingShard);
    this.#changed(key.vdiskId);
  }

  #activate(attachment: AttachmentRecord): void {
    const one = this.#exports.get(attachment);
    if (one === undefined || one.activating !== null) return;
    this.options.log.log('info', 'a vdisk is to be held by this host', { vdisk: attachment.vdiskName, generation: attachment.generation });
    one.activating = this.#allShards();
    for (const shard of one.added) this.#sendActivate(one, shard);
  }

  #allShards(): Set<number> {
    return new Set(Array.from({ length: this.options.shards.count }, (_, shard) => shard));
  }

  #sendActivate({ description: { vdiskId, generation } }: Export, shard: number): void {
    this.options.shards.send(shard, DatapathTopic.activate, { vdiskId, generation } satisfies ExportKey);
  }

  #onActivated(key: ExportKey, shard: number): void {
    if (this.#exports.get(key)?.activating?.delete(shard) === true) this.#changed(key.vdiskId);
  }

  #onRemoved(key: ExportKey, shard: number): void {
    const one = this.#exports.get(key);
    if (one === undefined) return;
    one.removed.add(shard);
    this.#probes.closed(key, shard);
    this.#finish(one);
    this.#changed(key.vdiskId);
  }

  #finish(one: Export): void {
    if (!one.removing || one.removed.size < one.told.size) return;
    this.#exports.delete(one.description);
    const { vdiskId } = one.description;
    if (this.#exports.of(vdiskId).length > 0) return;
    this.#groups.delete(vdiskId);
    this.#topology?.drop(vdiskId);
    this.#quarantines.detached(vdiskId);
  }

  #resize(attachment: AttachmentRecord): void {
    const one = this.#exports.get(attachment);
    if (one === undefined) return;
    one.sizeBytes = attachment.sizeBytes;
    for (const shard of one.told) one.resizing.add(shard);
    for (const shard of one.added) this.#sendResize(one, shard);
  }

  #sendResize({ description: { vdiskId, generation }, sizeBytes }: Export, shard: number): void {
    this.options.shards.send(shard, DatapathTopic.resize, { vdiskId, generation, sizeBytes } satisfies ExportResize);
  }

  #onResized({ sizeBytes, ...key }: ExportResize, shard: number): void {
    const one = this.#exports.get(key);
    if (one === undefined || one.sizeBytes !== sizeBytes) return;
    one.resizing.delete(shard);
    if (one.resizing.size > 0) return;
    one.offeredBytes = sizeBytes;
    this.#changed(key.vdiskId);
  }

  #changed(vdiskId: string): void {
    for (const listener of this.#onChange) listener();
    this.options.onChange?.(vdiskId);
  }

  #when(holds: () => boolean, timeoutMs: number, problem: string): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = (error?: Error): void => {
        clearTimeout(timer);
        this.#onChange = this.#onChange.filter(one => one !== check);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = (): void => void (holds() && done());
      const timer = setTimeout(() => done(new Error(`${problem} after ${timeoutMs} ms`)), timeoutMs);
      this.#onChange.push(check);
    });
  }
}
