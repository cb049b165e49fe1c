import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import { IoOp } from '../../../src/wire/path.js';
import { findingsIn, type Finding } from '../checker.js';
import type { Datapath } from '../datapath.js';
import { MAX_EVENTS } from '../limits.js';
import type { Vdisk } from '../load.js';
import { dedupeHits } from '../probe.js';
import { Cluster, type ClusterOptions } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import { differences, readReplica } from './contents.js';
import { Faults, type FaultOptions } from './faults.js';
import { RECORDED_NS, RECOVERY_NS } from './limits.js';
import { Migrations } from './migrations.js';
import { Quotas } from './quotas.js';
import { Resizer } from './resizer.js';
import { Stage, type Story } from './stage.js';

export interface ClusterRunOptions extends ClusterOptions {
  /** What goes wrong; all kinds of things, where it is missing. */
  readonly faults?: FaultOptions;
  /** A history of some seconds; of few seeds, where it is missing. */
  readonly isLong?: boolean;
  /** What goes wrong, step by step, instead of faults by the seed. */
  readonly story?: Story;
}

export interface ClusterCounters {
  asked: number;
  changes: number;
  reads: number;
  lostPaths: number;
  replayed: number;
  dedupeHits: number;
  kills: number;
  powerCuts: number;
  pauses: number;
  partitions: number;
  emptied: number;
  rotten: number;
  full: number;
  /** Controllers that hung, whose successors did too. */
  successors: number;
  refilled: number;
  givenUp: number;
  letGo: number;
  takeovers: number;
  resigned: number;
  unknownCas: number;
  epochs: number;
  drains: number;
  tornTails: number;
  resyncs: number;
  /** Takeovers from logs that may lack something, those while a member had its memory, and FLUSHes that have told of it. */
  cold: number;
  coldTooSoon: number;
  toldLosses: number;
  /** Changes of the size, and writes of it to the metadata whose outcome was not known. */
  resizes: number;
  unknownSizes: number;
  /** Attachments that were shared and have come to hold the vdisks. */
  migrations: number;
  /** Grants of quotas that were used up. */
  quotas: number;
  /** Vdisks that two controllers have died of, as far as datapaths know (rule 19). */
  quarantines: number;
  alarms: number;
  events: number;
  virtualMs: number;
}

export interface ClusterResult {
  readonly seed: number;
  readonly hash: string;
  readonly violations: readonly Finding[];
  readonly exception: Error | null;
  readonly counters: ClusterCounters;
  readonly lines: readonly string[];
}

const READ_BLOCKS = 8;

/** How long things go wrong, and how soon one thing comes after another. */
interface Length {
  readonly minLifeNs: number;
  readonly maxLifeNs: number;
  readonly gapsMs: readonly number[];
}

/** Many short histories in which much goes wrong find more, for the time they take, than long ones. */
const SHORT: Length = { minLifeNs: 0.3e9, maxLifeNs: 1.3e9, gapsMs: [40, 80, 200] };
const LONG: Length = { minLifeNs: 2e9, maxLifeNs: 6e9, gapsMs: [150, 500, 1_200] };
const ONE_LONG_IN = 64;

/** One seed: a cluster under a load while things go wrong; then all heals, and everything has to come to rest, complete and equal. */
export class ClusterRun {
  readonly cluster: Cluster;
  readonly #dedupeHitsBefore = dedupeHits();
  #datapath: Datapath | null = null;
  #faults: Faults | null = null;
  readonly #resizers: Resizer[] = [];
  #migrations: Migrations | null = null;
  #quotas: Quotas | null = null;

  constructor(readonly options: ClusterRunOptions) {
    this.cluster = new Cluster(options);
  }

  run(): ClusterResult {
    const { cluster, options } = this;
    let exception: Error | null = null;
    try {
      this.#live();
      if (cluster.complaints.length === 0) this.#rest();
    } catch (error) {
      exception = error as Error;
    }
    const violations: Finding[] = cluster.complaints.map(message => ({ message }));
    try {
      violations.push(...findingsIn(cluster.vdisks));
    } catch (error) {
      exception ??= error as Error;
    }
    const counters = this.#count();
    // Whoever runs the next seed finds nothing of this one in its memory.
    for (const node of cluster.nodes) node.disk.killAll();
    return { seed: options.seed, hash: cluster.trace.hash, violations, exception, counters, lines: cluster.trace.lines };
  }

  // ---------------------------------------------------------------- while things go wrong

  #live(): void {
    const { cluster, options } = this;
    const { clock } = cluster;
    for (const node of cluster.nodes) node.start();
    if (options.story !== undefined) return this.#play(options.story);
    this.#replaceDatapath(false);
    this.#until(() => cluster.counters.asked > 10, 30e9, 'the first answers');
    const length = options.isLong === true || clock.below(ONE_LONG_IN) === 0 ? LONG : SHORT;
    this.#faults = new Faults(cluster, { maxGapMs: length.gapsMs[clock.below(3)]!, ...options.faults }, isCrash =>
      this.#replaceDatapath(isCrash),
    );
    if (cluster.isResizing)
      for (const vdisk of cluster.vdisks) this.#resizers.push(new Resizer(cluster, vdisk, cluster.sizes.get(vdisk)!, options.seed));
    if (cluster.isMigrating)
      this.#migrations = new Migrations(
        cluster,
        () => this.#datapath!,
        target => (this.#datapath = target),
      );
    if (cluster.hasQuotas) this.#quotas = new Quotas(cluster);
    const endNs = clock.nowNs + length.minLifeNs + clock.below(length.maxLifeNs - length.minLifeNs);
    this.#steps(() => clock.nowNs >= endNs || cluster.complaints.length > 0);
    this.#faults.heal();
    this.#quotas?.lift();
  }

  #play({ home, shards = 1, depth = 4, play }: Story): void {
    const { cluster } = this;
    cluster.nextHome = home;
    this.#datapath = cluster.startDatapath(shards, false, depth, true);
    const vdisk = cluster.vdisks[0]!;
    const resizer = new Resizer(cluster, vdisk, cluster.sizes.get(vdisk)!, 0, true);
    if (cluster.isResizing) this.#resizers.push(resizer);
    play(new Stage(cluster, this.#datapath, resizer));
    this.#faults = new Faults(cluster, {}, () => undefined);
    this.#faults.heal();
  }

  #replaceDatapath(isCrash: boolean): void {
    const { cluster } = this;
    const { clock } = cluster;
    if (this.#migrations?.isActivating === true) return;
    if (isCrash) this.#datapath?.die();
    // Whoever takes a vdisk from a host that lives has stopped its guests: through a controller that has been cut off before, it would read what was, and nobody could tell it (rule 18).
    else if (this.#datapath !== null) this.#datapath.asks = 'changes';
    const shards = 1 + clock.below(2);
    const depth = 1 + clock.below(Math.floor(8 / shards));
    this.#datapath = cluster.startDatapath(shards, false, depth, clock.below(2) === 0);
  }

  #steps(done: () => boolean): void {
    const { cluster } = this;
    for (let events = 0; !done(); events++) {
      if (events === MAX_EVENTS) throw new Error(`simulation: no end in ${MAX_EVENTS} events`);
      cluster.step();
      if (cluster.fatal.size > 0) this.#faults?.sweep();
    }
  }

  /** False, and a complaint: it did not come about in that time. */
  #until(done: () => boolean, withinNs: number, what: string): boolean {
    const { cluster } = this;
    const deadline = cluster.clock.nowNs + withinNs;
    this.#steps(() => done() || cluster.clock.nowNs > deadline || cluster.complaints.length > 0);
    if (cluster.complaints.length > 0) return false;
    if (done()) return true;
    if (cluster.vdisks.some(vdisk => this.#needsPerson(vdisk))) return false;
    cluster.complaints.push(`no progress: ${what} did not come about in ${withinNs / 1e9} s; ${this.#state()}`);
    return false;
  }

  // ---------------------------------------------------------------- when all is well again

  #rest(): void {
    const { cluster } = this;
    for (const one of this.#resizers) one.isPaused = true;
    this.#migrations?.finish();
    if (!this.#until(() => this.#migrations?.isIdle !== false, RECOVERY_NS, 'the last migration')) return;
    if (!this.#quiet() || !this.#growAll()) return;
    const isWhole = (): boolean => cluster.vdisks.every(vdisk => this.#isWhole(vdisk));
    if (!this.#until(isWhole, RECOVERY_NS, 'all replicas of all vdisks, equal')) return;
    for (const vdisk of cluster.vdisks) this.#compareSizes(vdisk);
    for (const vdisk of cluster.vdisks) this.#compare(vdisk);
    if (cluster.complaints.length > 0) return;
    this.#readAll();
    // Each member serves in turn what it has.
    for (const node of cluster.nodes) if (cluster.complaints.length === 0 && cluster.clock.below(2) === 0) this.#readAt(node);
    this.#datapath!.die();
  }

  /** What was wanted last is known to have come about, or never to; then all that was cut off is there again, as zeroes. */
  #growAll(): boolean {
    const areIdle = (): boolean => this.#resizers.every(({ isIdle }) => isIdle);
    if (!this.#until(areIdle, RECOVERY_NS, 'the last resizes')) return false;
    // What nobody resizes any more is told by those who have been in control since, if need be.
    if (!this.#areSizesRecorded()) return false;
    for (const one of this.#resizers) one.growToEnd();
    return this.#until(areIdle, RECOVERY_NS, 'the size that all blocks need') && this.#areSizesRecorded();
  }

  #areSizesRecorded(): boolean {
    const { cluster } = this;
    const { clock, complaints, metadata, sizes, vdisks } = cluster;
    const isRecorded = (vdisk: Vdisk): boolean => metadata.sizes.get(vdisk.id)!.sizeBytes === sizes.get(vdisk)!.sizeBytes;
    const deadline = clock.nowNs + RECORDED_NS;
    this.#steps(() => vdisks.every(isRecorded) || clock.nowNs > deadline || complaints.length > 0);
    for (const vdisk of vdisks)
      if (!isRecorded(vdisk)) complaints.push(`vdisk ${vdisk.index}: divergent: the metadata has another size than the vdisk`);
    return cluster.complaints.length === 0;
  }

  #compareSizes(vdisk: Vdisk): void {
    const { cluster } = this;
    const { sizeBytes } = cluster.sizes.get(vdisk)!;
    for (const [node, { local }] of this.#groupsOf(vdisk)) {
      const at = local.applied.sizeBytes;
      if (at !== sizeBytes)
        cluster.complaints.push(`vdisk ${vdisk.index}: divergent: node ${node.number} has it with ${at} bytes, and it has ${sizeBytes}`);
    }
  }

  #quiet(): boolean {
    const { cluster } = this;
    for (const datapath of cluster.datapaths) datapath.isPaused = true;
    return this.#until(() => cluster.outstanding === 0, RECOVERY_NS, 'the last answers');
  }

  #groupsOf(vdisk: Vdisk): (readonly [ClusterNode, GroupVdisk])[] {
    const { members } = this.cluster.metadata.groups.get(vdisk.id)!;
    return this.cluster.nodes.flatMap(node => {
      const group = members.includes(node.self) ? node.part?.groups?.all.get(vdisk.id) : undefined;
      return group === undefined ? [] : [[node, group] as const];
    });
  }

  /** Somebody serves it, nobody else still thinks so, and every member has applied all there is. */
  #isWhole(vdisk: Vdisk): boolean {
    const record = this.cluster.metadata.groups.get(vdisk.id)!;
    if (record.members.length < this.cluster.replicationFactor) return false;
    const groups = this.#groupsOf(vdisk);
    const leader = groups.find(([, { controller }]) => controller?.state.term === record.term)?.[1];
    const isFollowed = ({ part }: ClusterNode): boolean =>
      (part?.groups?.all.get(vdisk.id)?.controller?.state.term ?? record.term) < record.term;
    if (leader === undefined || this.cluster.nodes.some(isFollowed)) return false;
    const isFull = groups.length === this.cluster.replicationFactor;
    const { lastSeq } = leader.replica.member.log;
    return isFull && groups.every(([, { local, replica }]) => local.appliedSeq === lastSeq && replica.member.log.lastSeq === lastSeq);
  }

  /** Rule 5: whose tail was torn compares before it goes on alone, and those it could compare with have lost their disks, or all of their logs. Nobody but a person may go on. */
  #needsPerson(vdisk: Vdisk): boolean {
    const { members } = this.cluster.metadata.groups.get(vdisk.id)!;
    const left = this.#groupsOf(vdisk);
    const isLost = ({ part }: ClusterNode): boolean => part?.groups?.damaged.get(vdisk.id)?.isHopeless === true;
    const isAlone = left.length === 1 && this.cluster.nodes.filter(node => members.includes(node.self) && !isLost(node)).length === 1;
    return members.length > 1 && isAlone && left[0]![1].replica.member.isTorn && left[0]![1].controller === null;
  }

  #compare(vdisk: Vdisk): void {
    const { cluster } = this;
    const groups = this.#groupsOf(vdisk);
    const contents = new Map<ClusterNode, Map<number, Buffer | null>>();
    for (const [node, group] of groups) readReplica(node, group, vdisk, blocks => contents.set(node, blocks));
    if (this.#until(() => contents.size === groups.length, RECOVERY_NS, 'the contents of all replicas'))
      cluster.complaints.push(...differences(vdisk, contents).slice(0, 3));
  }

  #readAll(): void {
    const { cluster } = this;
    for (const sizes of cluster.sizes.values()) sizes.heard(Infinity);
    for (const datapath of cluster.datapaths) datapath.isPaused = true;
    for (const vdisk of cluster.vdisks) {
      const reader = this.#datapath!.clients.find(client => client.vdisk === vdisk)!;
      for (const { block, blocks } of vdisk.workload.runs(READ_BLOCKS))
        reader.ask({ op: IoOp.read, offsetBytes: block * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES });
    }
    this.#quiet();
  }

  #readAt(node: ClusterNode): void {
    node.turn(part => {
      for (const group of part.groups!.all.values()) group.step({ kind: 'takeOver' });
    });
    this.#readAll();
  }

  #state(): string {
    const { cluster } = this;
    const nodes = cluster.nodes.map(node => {
      const groups = node.part === null ? [] : [...node.replicas];
      const said = groups.map(({ replica, local, controllerNode }) => {
        const { member, takeover } = replica;
        return `${takeover.state.kind} ${member.state.kind} term ${member.promisedTerm} log ${member.log.base.seq}..${member.log.lastSeq} committed ${member.committedSeq} applied ${local.appliedSeq} controller ${controllerNode}`;
      });
      return `node ${node.number} ${node.isServing ? 'serves' : 'does not serve'} [${said.join(' | ')}] ${node.part?.problems.map(({ message }) => message).join() ?? 'down'}`;
    });
    const records = [...cluster.metadata.groups.values()].map(
      ({ epoch, term, controller, members }) => `epoch ${epoch} term ${term} ${controller} {${members.join(' ')}}`,
    );
    return [...records, ...nodes, `${cluster.outstanding} unanswered`].join('\n    ');
  }

  #count(): ClusterCounters {
    const { cluster } = this;
    const { nodes } = cluster;
    const sessions = cluster.datapaths.flatMap(({ clients }) => clients.map(({ session }) => session.counters));
    const sum = <T>(list: readonly T[], of: (one: T) => number): number => list.reduce((total, one) => total + of(one), 0);
    const {
      kills = 0,
      powerCuts = 0,
      pauses = 0,
      partitions = 0,
      emptied = 0,
      rotten = 0,
      full = 0,
      successors = 0,
    } = this.#faults?.counters ?? {};
    return {
      asked: cluster.counters.asked,
      changes: cluster.counters.changes,
      reads: cluster.counters.reads,
      lostPaths: sum(sessions, ({ lost }) => lost),
      replayed: sum(sessions, ({ replayed }) => replayed),
      dedupeHits: dedupeHits() - this.#dedupeHitsBefore,
      ...{ kills, powerCuts, pauses, partitions, emptied, rotten, full, successors },
      refilled: sum(nodes, node => node.counters2.refilled),
      givenUp: sum(nodes, node => node.counters2.discarded),
      letGo: sum(nodes, node => node.counters2.letGo),
      takeovers: sum(nodes, node => node.counters2.takeovers),
      resigned: sum(nodes, node => node.counters2.resigned),
      unknownCas: cluster.metadata.unknown,
      epochs: sum([...cluster.metadata.groups.values()], ({ epoch }) => epoch),
      drains: sum(nodes, node => node.counters.drains + (node.store?.commits ?? 0)),
      tornTails: sum(nodes, node => node.counters.tornTails),
      resyncs: sum(nodes, node => node.counters2.resyncs),
      cold: cluster.losses.told,
      coldTooSoon: cluster.losses.tooSoon,
      toldLosses: cluster.counters.toldLosses,
      resizes: cluster.resized,
      unknownSizes: cluster.metadata.unknownSizes,
      migrations: this.#migrations?.done ?? 0,
      quotas: this.#quotas?.usedUp ?? 0,
      quarantines: cluster.quarantines.count,
      alarms: sum(nodes, node => node.counters2.alarms),
      events: cluster.trace.events,
      virtualMs: Math.round(cluster.clock.nowNs / 1e6),
    };
  }
}
