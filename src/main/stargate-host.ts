import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { MessagePort } from 'node:worker_threads';
import { GatepathError } from '../base/errors.js';
import { silentEvents, type EventSink } from '../base/events.js';
import type { LmdbDamage } from '../base/lmdb-image.js';
import type { Logger } from '../base/log.js';
import type { Probe } from '../base/probe.js';
import type { DamagedRecord } from '../meta/damage.js';
import type { EtcdOptions } from '../meta/etcd-options.js';
import { winTerms } from '../meta/nodes.js';
import { listContainers } from '../meta/operations.js';
import type { SizedVdisk } from '../meta/sizes.js';
import type { MetadataStore } from '../meta/store.js';
import type { ContainerRecord, GroupMember, RemovedNodeRecord, ReplicationFactor, VdiskRecord } from '../meta/model.js';
import { MetaServer } from '../meta/wire-server.js';
import type { ShardPool } from '../shard/pool.js';
import { ShardQuestions } from '../shard/questions.js';
import { openDataDirectory, syncFolders, type DataDirectory } from '../stargate/data-directory.js';
import {
  STARGATE_HOPS,
  StargateTopic,
  type BadBlock,
  type CreatedReply,
  type RecoveryProgress,
  type ServeRequest,
  type ServingReport,
  type StargateStatus,
  type UsageReply,
  type VdiskDescription,
  type VdiskProblem,
} from '../stargate/messages.js';
import { Topic } from '../transport/mailbox-messages.js';
import type { MovedMeta } from '../transport/unix-server.js';
import type { NodeQuestion } from '../wire/meta.js';
import { shardOfStream, streamOf } from '../wire/placement.js';
import type { VdiskAnswer, VdiskCommand } from '../wire/vdisk-command.js';
import { PageCheck, storeDamaged, StoreHandle, type PageCheckProgress } from '../stargate/store/index.js';
import { tellBadBlock } from './bad-block.js';
import { MetadataCheck } from './metadata-check.js';
import { ownVdisks } from './own-vdisks.js';
import { Replicas } from './replicas.js';
import { Sizes } from './sizes.js';
import { VdiskCommands } from './vdisk-commands.js';
import { Deletions } from './deletions.js';
import { LapsedLeases } from './lapsed-leases.js';
import {
  DEFAULT_KEEP_SURPLUS_MS,
  DEFAULT_SCRUB_BYTES_PER_SECOND,
  CREATE_TIMEOUT_MS,
  NEW_STREAMS,
  PROGRESS_INTERVAL_MS,
  STATUS_TIMEOUT_MS,
  LEAVE_TIMEOUT_MS,
} from './limits.js';
import { NodeMetadata } from './node-metadata.js';
import type { StargateSettings, TcpListening } from './shard-worker.js';
import { SpacePolicies, type UsedElsewhere } from './space-policies.js';
import { DELETION_RESERVE_BYTES, SpaceReserve, startReserveBytes } from './space-reserve.js';
import { CONTROL_SOCKET } from './sockets.js';
import { SOFTWARE } from './version.js';

export interface StargateHostOptions {
  readonly dataDirectory: string;
  readonly nodeId: string;
  readonly shards: number;
  readonly cacheBytes: number;
  readonly oplogBytes: number;
  /** How fast the extents are read and checked; 0: not at all. */
  readonly scrubBytesPerSecond?: number;
  /** A copy that is one too many is removed after this time. */
  readonly keepSurplusMs?: number;
  /** Where datapaths connect; beside it, `.meta`, they read the metadata. */
  readonly stargateSocket: string;
  /** Where other machines connect, beside the socket; `advertised` is what they are told. Null: nowhere. */
  readonly tcp?: TcpListening | null;
  /** Where the metadata of the node's cluster is. Null: in its data directory, for itself. */
  readonly etcd?: EtcdOptions | null;
  /** The cluster that is expected there. */
  readonly clusterId?: string | null;
  /** Nodes that fail together with this one. */
  readonly faultDomain?: string | null;
  /** Copies of a vdisk in the container "default", where that is made now. */
  readonly replicationFactor?: ReplicationFactor;
  readonly log: Logger;
  readonly events?: EventSink;
  /** What somebody who waits for the start wants to read, a line each: while a long log is read, and what was found. */
  readonly onProgress: (line: string) => void;
  /** The node's store cannot be trusted any more: the process has to end. */
  readonly onFatal: (message: string) => void;
  /** The node has been removed from its cluster: nobody wants anything of it any more. */
  readonly onRemoved?: (removed: RemovedNodeRecord) => void;
}

/** A Stargate's part of the main thread: data directory, metadata, terms, and what goes to and comes from its shards. */
export class StargateHost {
  readonly #served = new Map<string, (problem: string) => void>();
  readonly #removed = new Map<string, () => void>();
  readonly #terms = new Map<string, VdiskDescription>();
  /** What the vdisks that other nodes control may have used up by now; set by whoever can ask them. */
  usedElsewhere: () => Promise<ReadonlyMap<string, UsedElsewhere>> = () => Promise.resolve(new Map());
  #status: ShardQuestions<StargateStatus> | null = null;
  /** Null: it does not serve. */
  policies: SpacePolicies | null = null;
  #pool: ShardPool | null = null;
  #meta: MetaServer | null = null;
  #deletions: Deletions | null = null;
  #leases: LapsedLeases | null = null;
  #commands: VdiskCommands | null = null;
  #sizes: Sizes | null = null;
  #pages: PageCheck | null = null;
  #records: MetadataCheck | null = null;
  #replicas: Replicas | null = null;
  #serving: Promise<void> = Promise.resolve();

  private constructor(
    readonly options: StargateHostOptions,
    readonly directory: DataDirectory,
    readonly metadata: NodeMetadata,
    readonly blockStore: StoreHandle,
    readonly reserves: { readonly start: SpaceReserve; readonly deletion: SpaceReserve },
  ) {}

  get store(): MetadataStore {
    return this.metadata.store;
  }

  static async open(options: StargateHostOptions): Promise<StargateHost> {
    const { dataDirectory, stargateSocket, tcp = null, etcd = null, clusterId = null, replicationFactor = 1 } = options;
    const reserves = {
      start: new SpaceReserve(dataDirectory, 'reserve-start', startReserveBytes(NEW_STREAMS)),
      deletion: new SpaceReserve(dataDirectory, 'reserve-deletion', DELETION_RESERVE_BYTES),
    };
    if (existsSync(dataDirectory)) reserves.start.makeRoom();
    const directory = openDataDirectory(dataDirectory, NEW_STREAMS);
    const addresses = { unix: stargateSocket, tcp: tcp?.advertised ?? null };
    const control = `unix:${join(dataDirectory, CONTROL_SOCKET)}`;
    try {
      const metadata = await NodeMetadata.open({ ...options, directory, addresses, control, etcd, clusterId, replicationFactor });
      const blockStore = await StoreHandle.start(join(dataDirectory, 'stargate'), error => options.onFatal(error.message));
      syncFolders(dataDirectory);
      return new StargateHost(options, directory, metadata, blockStore, reserves);
    } catch (error) {
      directory.lock.release();
      throw error;
    }
  }

  /** For one shard; `port` has to be transferred. */
  shardSettings(): { settings: StargateSettings; transfer: MessagePort } {
    const { dataDirectory, nodeId, shards, cacheBytes, oplogBytes, stargateSocket, tcp = null } = this.options;
    const { scrubBytesPerSecond = DEFAULT_SCRUB_BYTES_PER_SECOND, keepSurplusMs = DEFAULT_KEEP_SURPLUS_MS } = this.options;
    const store = this.blockStore.connect();
    const settings = {
      nodeId,
      directory: join(dataDirectory, 'stargate'),
      streams: this.directory.streams,
      oplogBytesPerStream: Math.floor(oplogBytes / this.directory.streams),
      cacheBytesPerShard: Math.floor(cacheBytes / shards),
      scrubBytesPerSecond: scrubBytesPerSecond / shards,
      keepSurplusMs,
      store,
      self: this.metadata.isShared ? this.metadata.member : null,
      boot: this.metadata.boot,
      socketPath: stargateSocket,
      tcp,
    };
    return { settings, transfer: store.port };
  }

  /** To be called before the shards start: they report while they read their logs. */
  listen(pool: ShardPool): void {
    this.#pool = pool;
    const { log, events, onFatal, onRemoved = () => undefined } = this.options;
    pool.on(Topic.meta, message => this.#onMetaConnection(message as MovedMeta));
    pool.on(StargateTopic.fatal, message => onFatal(message as string));
    pool.on(StargateTopic.badBlock, message => tellBadBlock(message as BadBlock, events, log));
    pool.on(StargateTopic.created, message => this.#served.get((message as CreatedReply).vdiskId)?.((message as CreatedReply).problem));
    pool.on(StargateTopic.removed, message => this.#removed.get((message as { vdiskId: string }).vdiskId)?.());
    this.#status = new ShardQuestions(pool, StargateTopic.status, StargateTopic.statusReply, STATUS_TIMEOUT_MS);
    this.policies = this.#makePolicies(pool);
    if (this.metadata.isShared) {
      const { store } = this;
      this.#replicas = new Replicas({
        ...{ store, self: this.metadata.member, boot: this.metadata.boot, pool, log },
        shardOf: id => this.#shardOf(id),
        living: () => this.metadata.living(),
        onRemoved: removed => onRemoved(removed),
      });
    }
    this.#commands = new VdiskCommands(pool, id => this.#shardOf(id));
    const sizes = (this.#sizes = new Sizes(this.store, log));
    pool.on(StargateTopic.sized, message => sizes.told(message as SizedVdisk));
    this.#showProgress(pool);
    this.#serving = this.#whenRecovered(pool).then(() => this.#whenServing(pool));
    // Awaited by serve(), perhaps only after it has failed.
    this.#serving.catch(() => undefined);
  }

  /** `answer`: to other nodes that ask. Resolves when every vdisk is served, or refused with a reason that is logged; then finishes what a former process was deleting. */
  async serve(answer?: (question: NodeQuestion) => Promise<unknown>): Promise<void> {
    await this.#serving;
    this.#meta = new MetaServer({
      store: this.store,
      software: SOFTWARE,
      log: this.options.log,
      ...(answer === undefined ? {} : { answer }),
    });
    await this.#meta.listen(metaSocketOf(this.options.stargateSocket));
    this.#replicas?.follow();
    this.policies?.follow();
    for (const reserve of Object.values(this.reserves)) reserve.keep();
    const { store, metadata } = this;
    this.#deletions = new Deletions({ store, self: metadata.member, log: this.options.log, remove: vdiskId => this.#removeData(vdiskId) });
    this.#checkPages();
    this.#records = new MetadataCheck({ store, events: this.options.events ?? silentEvents, log: this.options.log });
    this.#leases = new LapsedLeases({
      store,
      log: this.options.log,
      makeRoom: () => this.reserves.deletion.makeRoom(),
      onDeleting: () => this.remove(),
    });
  }

  #checkPages(): void {
    const { scrubBytesPerSecond: bytesPerSecond = DEFAULT_SCRUB_BYTES_PER_SECOND, events = silentEvents } = this.options;
    const onDamage = (damage: LmdbDamage): void => events.emit(storeDamaged(damage));
    this.#pages = new PageCheck({ directory: this.blockStore.directory, bytesPerSecond, onDamage });
  }

  /** How fast all that is stored is read and checked, from now on; 0: not at all. */
  setScrub(bytesPerSecond: number): void {
    const { shards } = this.options;
    for (let shard = 0; shard < shards; shard++) this.#pool!.send(shard, StargateTopic.scrub, bytesPerSecond / shards);
    this.#pages?.setRate(bytesPerSecond);
  }

  /** Of the block store's database; null: it is off, or serving has not begun. */
  get storePages(): PageCheckProgress | null {
    return this.#pages?.progress ?? null;
  }

  /** Of the metadata, as they were found last. */
  get damagedRecords(): readonly DamagedRecord[] {
    return this.#records?.damaged ?? [];
  }

  /** Who is to hold a new vdisk of the container; null: this node, and there is no other. */
  place(container: ContainerRecord): Promise<readonly GroupMember[] | null> {
    return this.metadata.place(container);
  }

  /** A vdisk that is in the metadata now: wins its term and serves it. */
  async serveNew(vdisk: VdiskRecord): Promise<void> {
    await this.policies?.admit(vdisk);
    if ((await this.#replicas?.isReplicated(vdisk.id)) === true) return this.#replicas!.served(vdisk);
    await this.#winTerms([vdisk]);
    const description = this.#terms.get(vdisk.id);
    if (description === undefined) throw notServed(vdisk, 'its group has other members');
    const problem = await withTimeout<string>(CREATE_TIMEOUT_MS, `vdisk "${vdisk.name}" was not served`, resolve => {
      this.#served.set(vdisk.id, resolve);
      this.#pool!.send(this.#shardOf(vdisk.id), StargateTopic.create, description);
    });
    this.#served.delete(vdisk.id);
    if (problem !== '') throw notServed(vdisk, problem);
  }

  /** A vdisk has been marked as being deleted. Its space comes back in the background. */
  remove(): void {
    this.#deletions?.check();
  }

  /** Of the vdisk's controller, where that is on this node. */
  command(vdiskId: string, command: VdiskCommand): Promise<VdiskAnswer> {
    return this.#commands!.ask(vdiskId, command);
  }

  /** What the shards know, or know of one vdisk, in their order; those that do not answer in time are left out. */
  async status(vdiskId?: string): Promise<{ readonly shard: number; readonly status: StargateStatus }[]> {
    return (await this.#status!.ask(vdiskId === undefined ? {} : { vdiskId })).map(({ shard, answer: status }) => ({ shard, status }));
  }

  #makePolicies(pool: ShardPool): SpacePolicies {
    const questions = new ShardQuestions<UsageReply>(pool, StargateTopic.usage, StargateTopic.usageReply, STATUS_TIMEOUT_MS);
    return new SpacePolicies({
      store: this.store,
      log: this.options.log,
      tell: space => pool.send(this.#shardOf(space.vdiskId), StargateTopic.space, [space]),
      usage: async () => {
        const answers = await questions.ask();
        return answers.length < pool.count ? null : answers.flatMap(({ answer }) => answer.vdisks);
      },
      usedElsewhere: () => this.usedElsewhere(),
    });
  }

  /** What the probes of a shard's hops have, without asking it. */
  hops<T>(shard: number, of: (probe: Probe) => T): Record<(typeof STARGATE_HOPS)[number], T> {
    const probes = this.#pool!.probes(shard);
    return Object.fromEntries(STARGATE_HOPS.map(hop => [hop, of(probes[hop])])) as Record<(typeof STARGATE_HOPS)[number], T>;
  }

  /** Before the shards end: other nodes take over what this one controls, those that can. */
  async leave(): Promise<void> {
    const pool = this.#pool;
    if (pool === null || this.#replicas === null) return;
    let waiting = pool.count;
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, LEAVE_TIMEOUT_MS);
      pool.on(StargateTopic.left, () => {
        if (--waiting > 0) return;
        clearTimeout(timer);
        resolve();
      });
      pool.broadcast(StargateTopic.leave, null);
    });
  }

  /** After the shards have ended. */
  async close(): Promise<void> {
    await this.#meta?.close();
    this.#replicas?.close();
    this.#deletions?.close();
    this.#leases?.close();
    this.#records?.close();
    this.policies?.close();
    for (const reserve of Object.values(this.reserves)) reserve.close();
    this.#sizes?.close();
    const pages = this.#pages;
    // A reload that comes now finds none to set.
    this.#pages = null;
    await pages?.close();
    await this.blockStore.stop();
    await this.metadata.close();
    this.directory.lock.release();
  }

  /** Before it serves, it closes: who asks comes again. */
  #onMetaConnection({ fd, leftover }: MovedMeta): void {
    if (this.#meta === null) closeSync(fd);
    else this.#meta.adopt(fd, leftover);
  }

  /** Why some of them are not to be served. */
  async #winTerms(vdisks: readonly VdiskRecord[]): Promise<VdiskProblem[]> {
    const ids = vdisks.map(vdisk => vdisk.id);
    const { won, refused } = await winTerms(this.store, ids, this.metadata.member);
    const containers = await listContainers(this.store);
    for (const { id, sizeBytes, historyId, container } of vdisks) {
      const term = won.get(id);
      if (term === undefined) continue;
      const durability = containers.find(({ name }) => name === container)?.durability ?? 'always';
      this.#terms.set(id, { vdiskId: id, sizeBytes, historyId, durability, ...term });
    }
    return [...refused].map(([vdiskId, message]) => ({ vdiskId, message }));
  }

  /** Each shard has checked its logs: only then, and only for what is whole, a term is won (rule 5). */
  async #whenRecovered(pool: ShardPool): Promise<void> {
    const damaged: VdiskProblem[] = [];
    let waiting = pool.count;
    await new Promise<void>(resolve => {
      pool.on(StargateTopic.recovered, message => {
        damaged.push(...(message as VdiskProblem[]));
        if (--waiting === 0) resolve();
      });
    });
    const isDamaged = new Set(damaged.map(({ vdiskId }) => vdiskId));
    const replicated = (await this.#replicas?.descriptions()) ?? [];
    const own = await ownVdisks(this.store, this.metadata.member);
    const living = own.vdisks.filter(({ id }) => !replicated.some(one => one.vdiskId === id));
    const strange = await this.#winTerms(living.filter(({ id }) => !isDamaged.has(id)));
    const unreadable = own.refused.filter(({ vdiskId }) => !replicated.some(one => one.vdiskId === vdiskId));
    const refused = [...strange, ...unreadable, ...damaged.filter(({ vdiskId }) => living.some(({ id }) => id === vdiskId))];
    await this.policies?.begin();
    const vdisks = [...this.#terms.values(), ...replicated];
    pool.broadcast(StargateTopic.serve, { vdisks, refused } satisfies ServeRequest);
  }

  #whenServing(pool: ShardPool): Promise<void> {
    const { log, onProgress } = this.options;
    let waiting = pool.count;
    return new Promise(resolve => {
      pool.on(StargateTopic.serving, message => {
        const { problems, streams } = message as ServingReport;
        for (const { vdiskId, message: why } of problems) log.log('error', 'a vdisk is not served', { vdiskId, why });
        for (const { stream, clean, entries, bytes, tornBytes } of streams) {
          log.log('info', clean ? 'the log was closed cleanly' : 'the log was replayed', { stream, entries, bytes, tornBytes });
          if (!clean && entries > 0)
            onProgress(`stream ${stream}: the last stop was not clean; ${entries} entries of the log were replayed`);
        }
        if (--waiting === 0) resolve();
      });
    });
  }

  #showProgress(pool: ShardPool): void {
    let lastShownMs = performance.now();
    pool.on(StargateTopic.progress, message => {
      const { stream, readBytes, totalBytes } = message as RecoveryProgress;
      if (performance.now() - lastShownMs < PROGRESS_INTERVAL_MS) return;
      lastShownMs = performance.now();
      this.options.onProgress(`stream ${stream}: reading the log, ${Math.round((100 * readBytes) / Math.max(1, totalBytes))} %`);
    });
  }

  /** Whether this node is a member of its group or not: it may have been one. */
  async #removeData(vdiskId: string): Promise<void> {
    this.#replicas?.forget(vdiskId);
    await new Promise<void>(resolve => {
      this.#removed.set(vdiskId, resolve);
      this.#pool!.send(this.#shardOf(vdiskId), StargateTopic.remove, { vdiskId });
    });
    this.#removed.delete(vdiskId);
    this.#terms.delete(vdiskId);
  }

  #shardOf(vdiskId: string): number {
    return shardOfStream(streamOf(vdiskId, this.directory.streams), this.options.shards);
  }
}

function notServed({ name }: VdiskRecord, why: string): GatepathError {
  return new GatepathError('retryable', 'ERR_NOT_SERVED', `vdisk "${name}" is not served: ${why}`, 'see the log');
}

/** The socket where a Stargate's metadata is read, named by its I/O socket. */
export function metaSocketOf(stargateSocket: string): string {
  return `${stargateSocket}.meta`;
}

async function withTimeout<T>(timeoutMs: number, what: string, start: (resolve: (value: T) => void) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      timer = setTimeout(
        () => reject(new GatepathError('retryable', 'ERR_TIMEOUT', `${what} within ${timeoutMs} ms`, 'see the log, and try again')),
        timeoutMs,
      );
      start(resolve);
    });
  } finally {
    clearTimeout(timer);
  }
}
