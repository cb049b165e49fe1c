import type { SessionListener, SessionRequest, VdiskServing } from '../../wire/serving.js';
import type { Controller, ControllerHost, ControllerMutations, ControllerPorts } from '../core/controller.js';
import type { LayerRemoval } from '../extents/index.js';
import { OplogStream, type OplogOptions } from '../oplog/index.js';
import { Delays } from './delays.js';
import { DrainScheduler } from './drain-scheduler.js';
import type { Drainable } from '../core/drainable.js';
import { BLOCK_BYTES } from '../core/ports.js';
import { newRotCounters } from './rot.js';
import { Scrubber } from './scrubber.js';
import { LEAVE_NS, QUIET_POLL_NS, STOP_DRAIN_NS } from './limits.js';
import type { EnospcPolicy } from '../../meta/model.js';
import { shardOfStream, streamOf } from '../../wire/placement.js';
import type { VdiskAnswer, VdiskCommand } from '../../wire/vdisk-command.js';
import type { SizedVdisk } from '../../meta/sizes.js';
import { RecoveryCollector } from './recovery.js';
import { Histories } from './histories.js';
import { Refusals } from './refusals.js';
import type { DrainMutations } from './segment-drain.js';
import { replicaDamage } from './group/open.js';
import type { GroupVdisk } from './group/group-vdisk.js';
import { Groups, type GroupPorts } from './group/groups.js';
import type { ReplicationMutations } from '../core/replication/effects.js';
import { command } from './management.js';
import { Openings, type Served } from './openings.js';
import { SpaceRules, type VdiskSpace } from './space-rules.js';
import type { ShardStream } from './streams.js';
import { damageOf, type VdiskDescription, type VdiskProblem } from './vdisks.js';
import type { Engine } from 'uring-engine';

/** Planted bugs, for tests alone. */
export interface StargateMutations {
  readonly controller?: ControllerMutations;
  readonly drain?: DrainMutations;
  readonly replication?: ReplicationMutations;
}

export interface NodePartOptions {
  readonly engine: Engine;
  readonly ports: Omit<ControllerPorts, 'log'>;
  readonly removal: LayerRemoval;
  readonly nodeId: string;
  readonly shard: number;
  readonly shards: number;
  /** Streams of the node; this shard runs those that are placed on it. */
  readonly streams: number;
  readonly oplog: (stream: number) => Omit<OplogOptions, 'visitor' | 'engine'>;
  /** Missing: their terms are still to be won, and {@link NodePart.serve} comes later. */
  readonly vdisks?: readonly VdiskDescription[];
  /** Of a node in a cluster: it holds replicas of vdisks that others hold too. */
  readonly group?: GroupPorts;
  readonly mutations?: StargateMutations;
  /** Every vdisk is served or refused. */
  readonly onServing: () => void;
  /** Rule 6. */
  readonly onFatal: (message: string) => void;
  readonly onBadBlock: (vdiskId: string, offsetBytes: number, errno: number, lengthBytes: number) => void;
  /** A controller here has the vdisk in another size than the metadata, perhaps: to be brought there. */
  readonly onSized?: (sized: SizedVdisk) => void;
  /** Drains of a stream find no space for data, or find it again. */
  readonly onDiskFull?: (isFull: boolean) => void;
  /** What changes hear that have no space, of vdisks of which {@link NodePart.setSpace} has said nothing; missing: they wait. */
  readonly onFull?: EnospcPolicy;
  /** How fast all blocks of the extents are read and checked; 0 or missing: not at all. */
  readonly scrubBytesPerSecond?: number;
}

/**
 * The vdisks of one shard, from start to stop: recovers its streams, opens controllers, drains, and lets sessions in. The same in production and in
 * the simulation: what differs are the engine and the block store that it is given.
 */
export class NodePart implements VdiskServing, ControllerHost {
  readonly streams: ShardStream[] = [];
  readonly served = new Map<string, Served>();
  /** Vdisks that other nodes hold too; null: this node is alone. */
  readonly groups: Groups | null;
  readonly #histories: Histories | null;
  readonly rot = newRotCounters();
  readonly rules: SpaceRules;
  readonly scrubber: Scrubber;
  readonly #refusals = new Refusals();
  readonly #openings: Openings;
  /** Who waits for the end of a removal. */
  readonly #removing = new Map<string, (() => void)[]>();
  readonly #delays: Delays;
  #nextCacheOwner = 1;
  #failed = false;
  #stopping = false;
  /** By stream, until the vdisks are served. */
  #collected = new Map<number, RecoveryCollector>();

  constructor(readonly options: NodePartOptions) {
    this.#delays = new Delays(options.engine);
    this.rules = new SpaceRules(options.onFull ?? 'wait');
    this.groups = options.group === undefined ? null : this.#makeGroups(options.group);
    const { groups } = this;
    const shared = { removal: options.removal, store: options.ports.store, refusals: this.#refusals, delays: this.#delays };
    this.#histories = groups && new Histories({ ...shared, groups, streamOf: vdiskId => this.#streamOf(vdiskId)! });
    this.#openings = this.#makeOpenings();
    const { engine, ports, scrubBytesPerSecond: bytesPerSecond = 0 } = options;
    this.scrubber = new Scrubber({ engine, ports, bytesPerSecond, vdisks: () => this.#scrubbed() });
    for (let number = 0; number < options.streams; number++) {
      if (shardOfStream(number, options.shards) !== options.shard) continue;
      this.#collected.set(number, this.#openStream(number));
    }
    if (options.vdisks !== undefined) this.serve(options.vdisks);
  }

  /** Why vdisks are not served. */
  get problems(): VdiskProblem[] {
    return this.#refusals.problems;
  }

  /** Vdisks whose logs are damaged: no term is to be won for them (rule 5). */
  damaged(): VdiskProblem[] {
    return this.streams.flatMap(({ number, log }) =>
      [...log.vdisks()].flatMap(vdisk => {
        const recovered = this.#collected.get(number)?.vdisks.get(vdisk.vdiskId);
        const layer = recovered?.layer ?? null;
        const replica = recovered?.replica ?? null;
        const message =
          replica === null
            ? damageOf(vdisk, recovered, layer, this.options.ports.store)
            : recovered!.problem || replicaDamage(vdisk, replica, layer, vdisk.historyId);
        return message === null ? [] : [{ vdiskId: vdisk.vdiskId, message }];
      }),
    );
  }

  /** Once. Serves the vdisks, of this shard and of others, in the terms that were won for them; `refused` are not to be served. */
  serve(vdisks: readonly VdiskDescription[], refused: readonly VdiskProblem[] = []): void {
    const collected = this.#collected;
    this.#collected = new Map();
    for (const description of vdisks) {
      const stream = this.#streamOf(description.vdiskId);
      if (stream !== undefined) this.#openings.open(description, collected.get(stream.number));
    }
    for (const problem of refused) {
      const stream = this.#streamOf(problem.vdiskId);
      if (stream !== undefined) this.#refusals.add(problem, stream);
    }
    const known = new Set([...vdisks, ...refused].map(({ vdiskId }) => vdiskId));
    this.#refusals.addUnknown(known, this.streams, this.options.ports.store);
    this.#openings.allAsked();
  }

  // ---------------------------------------------------------------- VdiskServing

  shardOf(vdiskId: string): number {
    return shardOfStream(streamOf(vdiskId, this.options.streams), this.options.shards);
  }

  openSession(request: SessionRequest, listener: SessionListener): void {
    const served = this.served.get(request.vdiskId);
    const group = this.groups?.all.get(request.vdiskId);
    if (group !== undefined && !this.#stopping) return group.openSession(request, listener);
    if (served === undefined || this.#stopping) {
      const problem = this.#refusals.messageOf(request.vdiskId) ?? 'the vdisk is not served here, or not yet';
      return listener.onRefused('not-served', problem);
    }
    served.controller.openSession(request, listener);
  }

  closeSession(request: SessionRequest, done: () => void): void {
    const served = this.served.get(request.vdiskId);
    const group = this.groups?.all.get(request.vdiskId);
    if (group !== undefined) return group.closeSession(request, done);
    if (served === undefined) return done();
    served.controller.closeSession(request, done);
  }

  requestHandover(vdiskId: string, toNode: string): void {
    this.groups?.handOver(vdiskId, toNode);
  }

  /** Before the links to other nodes are closed: hands over what others can take, and leaves the groups. `done` when that is known, or will not be. */
  leave(done: () => void): void {
    const { groups } = this;
    if (groups === null) return done();
    groups.leave();
    const untilNs = this.options.engine.nowNs + LEAVE_NS;
    const look = (): void => {
      if (!groups.isDeparting || this.options.engine.nowNs > untilNs) done();
      else this.#delays.after(QUIET_POLL_NS, look);
    };
    look();
  }

  // ---------------------------------------------------------------- vdisks

  /** `done` once, with the controller's answer. */
  command(vdiskId: string, wanted: VdiskCommand, done: (answer: VdiskAnswer) => void): void {
    const isNot = this.#stopping ? 'this Stargate stops' : this.#refusals.messageOf(vdiskId);
    command(vdiskId, wanted, this, isNot ?? 'the vdisk is not served here, or not yet', done);
  }

  /** `done('')` when it serves; otherwise why not. */
  create(description: VdiskDescription, done: (problem: string) => void): void {
    this.#openings.create(description, done);
  }

  /** What they may take, also of those that are not here yet. */
  setSpace(vdisks: readonly VdiskSpace[]): void {
    for (const one of vdisks) if (this.rules.set(one)) this.controllerOf(one.vdiskId)?.onOutOfSpace();
  }

  /** Of the vdisks that are controlled here. */
  usage(): { readonly vdiskId: string; readonly usedBytes: number; readonly takenBytes: number }[] {
    const groups = [...(this.groups?.all.values() ?? [])].map(one => one.controller);
    const controllers = [...[...this.served.values()].map(one => one.controller), ...groups];
    return controllers.flatMap(one =>
      one === null ? [] : [{ vdiskId: one.state.vdiskId, usedBytes: one.usedBytes, takenBytes: one.rule.takenBytes }],
    );
  }

  /** Null: it is not controlled here. */
  controllerOf(vdiskId: string): Controller | null {
    return this.served.get(vdiskId)?.controller ?? this.groups?.all.get(vdiskId)?.controller ?? null;
  }

  /** `done` when nothing of it is left. Its sessions end. */
  remove(vdiskId: string, done: () => void): void {
    const others = this.#removing.get(vdiskId);
    if (others !== undefined) return void others.push(done);
    const waiting = [done];
    this.#removing.set(vdiskId, waiting);
    const removeLayers = (left: readonly number[]): void => {
      if (left.length > 0) return this.options.removal.remove(left[0]!, () => removeLayers(left.slice(1)));
      this.#removing.delete(vdiskId);
      this.rules.forget(vdiskId);
      for (const one of waiting) one();
    };
    this.#endUse(vdiskId, () => removeLayers(this.options.ports.store.layersOf(vdiskId)));
  }

  /** Until nothing uses the vdisk's log and layers any more. */
  #endUse(vdiskId: string, ended: () => void): void {
    const again = (): void => this.#delays.after(QUIET_POLL_NS, () => this.#endUse(vdiskId, ended));
    if (this.#openings.isUnderWay(vdiskId)) return again();
    const served = this.served.get(vdiskId);
    const group = this.groups?.all.get(vdiskId);
    if (group !== undefined) return this.#endReplica(group, ended, again);
    if (this.groups?.endDamaged(vdiskId) === false) return again();
    if (served === undefined) {
      this.#refusals.drop(vdiskId, this.#streamOf(vdiskId));
      return ended();
    }
    const { controller, log, stream } = served;
    controller.end();
    // What is on its way to the log or the extents, or being read, still ends there.
    if (!controller.isIdle || stream.scheduler.isBusy(controller)) return again();
    controller.stop();
    this.served.delete(vdiskId);
    stream.scheduler.remove(controller);
    stream.log.dropVdisk(log);
    this.options.ports.cache.dropOwner(controller.cacheOwner);
    ended();
  }

  #endReplica(group: GroupVdisk, ended: () => void, again: () => void): void {
    const { scheduler, log } = this.#streamOf(group.vdiskId)!;
    group.stop();
    if (!group.isQuiet || scheduler.isBusy(group.local)) return again();
    this.groups!.remove(group);
    scheduler.remove(group.local);
    log.dropVdisk(group.log);
    ended();
  }

  // ---------------------------------------------------------------- life

  /** Drains as far as the time allows, then closes the streams: what was not drained is in the log, which is marked clean. */
  stop(done: () => void): void {
    this.#stopping = true;
    for (const { controller } of this.served.values()) controller.endPaths();
    this.groups?.stop();
    this.scrubber.stop();
    let draining = this.streams.length;
    const goOn = (): void => {
      this.#drainDeadline = null;
      let open = this.streams.length;
      if (open === 0) return done();
      for (const { scheduler, log } of this.streams) {
        scheduler.stop();
        log.close(() => --open === 0 && done());
      }
    };
    if (draining === 0 || this.#failed) return goOn();
    this.#drainDeadline = goOn;
    this.#delays.after(STOP_DRAIN_NS, () => this.#drainDeadline?.());
    for (const { scheduler } of this.streams) scheduler.drainAll(() => --draining === 0 && this.#drainDeadline?.());
  }

  #drainDeadline: (() => void) | null = null;

  onLogFailed(errno: number): void {
    this.#fatal(`the log's disk reported error ${errno}`);
  }

  onBadBlock(vdiskId: string, offsetBytes: number, errno: number, lengthBytes: number): void {
    this.rot.lostBlocks += lengthBytes / BLOCK_BYTES;
    this.options.onBadBlock(vdiskId, offsetBytes, errno, lengthBytes);
  }

  onSized({ state: { vdiskId, term, sizeBytes } }: Controller): void {
    this.options.onSized?.({ vdiskId, term, sizeBytes });
  }

  onCommitted(controller: Controller): void {
    this.served.get(controller.state.vdiskId)?.stream.scheduler.onCommitted(controller);
  }

  #fatal(message: string): void {
    if (this.#failed) return;
    this.#failed = true;
    for (const { controller } of this.served.values()) controller.stop();
    this.groups?.stop();
    this.options.onFatal(message);
  }

  #openStream(number: number): RecoveryCollector {
    const { engine, ports, oplog, mutations, onDiskFull = () => undefined } = this.options;
    const options = oplog(number);
    const visitor = new RecoveryCollector(ports.arena, ports.store, options.capacityBytes / ports.drains.roundsPerLog);
    const { stream: log, report } = OplogStream.open({ ...options, engine, visitor });
    const scheduler = new DrainScheduler(engine, log, mutations?.drain ?? {}, message => this.#fatal(message), onDiskFull);
    this.streams.push({ number, log, report, scheduler });
    return visitor;
  }

  /** Where a resync writes, what vouches for the blocks comes later. */
  #scrubbed(): Drainable[] {
    const groups = [...(this.groups?.all.values() ?? [])].filter(one => !one.resyncs.isTarget && !one.local.isRestarting);
    return [...[...this.served.values()].map(one => one.controller), ...groups.map(one => one.local)];
  }

  #makeOpenings(): Openings {
    const { nodeId, ports, mutations, onServing } = this.options;
    return new Openings({
      nodeId,
      ports,
      host: this,
      mutations: mutations?.controller,
      served: this.served,
      groups: this.groups,
      histories: this.#histories,
      refusals: this.#refusals,
      delays: this.#delays,
      streamOf: vdiskId => this.#streamOf(vdiskId),
      nextCacheOwner: () => this.#nextCacheOwner++,
      rules: this.rules,
      isBeingRemoved: vdiskId => this.#removing.has(vdiskId),
      onServing,
    });
  }

  #makeGroups(group: GroupPorts): Groups {
    const { engine, ports, mutations } = this.options;
    return new Groups({
      engine,
      ports,
      group,
      mutations: mutations?.replication ?? {},
      controllerMutations: mutations?.controller ?? {},
      nextCacheOwner: () => this.#nextCacheOwner++,
      onCommitted: one => this.#streamOf(one.vdiskId)!.scheduler.onCommitted(one.local),
      host: this,
      onDataFailed: (what, vdiskId) => this.#fatal(`${what} vdisk ${vdiskId} failed: the data disk reported an error`),
      rot: this.rot,
      isDraining: one => this.#streamOf(one.vdiskId)!.scheduler.isBusy(one.local),
      discard: one => this.#delays.after(0, () => this.#openings.letGo(one.vdiskId)),
      after: (delayNs, call) => this.#delays.after(delayNs, call),
      isOutOfSpace: log => this.streams.find(one => one.log === log)?.scheduler.isOutOfSpace === true,
      rules: this.rules,
    });
  }

  #streamOf(vdiskId: string): ShardStream | undefined {
    const number = streamOf(vdiskId, this.options.streams);
    return this.streams.find(stream => stream.number === number);
  }
}
