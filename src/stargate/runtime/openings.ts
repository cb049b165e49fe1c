import type { Controller, ControllerHost, ControllerMutations, ControllerPorts } from '../core/controller.js';
import type { StreamVdiskLog } from '../oplog/index.js';
import type { Delays } from './delays.js';
import type { Groups } from './group/groups.js';
import type { GroupVdisk } from './group/group-vdisk.js';
import { beginAnew, startReplica } from './group/open.js';
import type { Histories } from './histories.js';
import { QUIET_POLL_NS } from './limits.js';
import type { SpaceRules } from './space-rules.js';
import type { RecoveryCollector } from './recovery.js';
import type { Refusals } from './refusals.js';
import type { ShardStream } from './streams.js';
import { openVdisk, type VdiskDescription } from './vdisks.js';

/** A vdisk that no other node holds. */
export interface Served {
  readonly controller: Controller;
  readonly log: StreamVdiskLog;
  readonly stream: ShardStream;
}

export interface OpeningsOptions {
  readonly nodeId: string;
  readonly ports: Omit<ControllerPorts, 'log'>;
  readonly host: ControllerHost;
  readonly mutations: ControllerMutations | undefined;
  /** What is opened comes into it. */
  readonly served: Map<string, Served>;
  /** Null, and no histories: this node is alone. */
  readonly groups: Groups | null;
  readonly histories: Histories | null;
  readonly refusals: Refusals;
  readonly delays: Delays;
  readonly streamOf: (vdiskId: string) => ShardStream | undefined;
  readonly nextCacheOwner: () => number;
  readonly rules: SpaceRules;
  readonly isBeingRemoved: (vdiskId: string) => boolean;
  /** Once, from a turn of the engine: all that the start asked for is open, or refused. */
  readonly onServing: () => void;
}

/** How the vdisks of a shard come to be served: those of the start with what was recovered, others later; the latter also in place of a replica that is over. */
export class Openings {
  readonly #opening = new Set<string>();
  #allAsked = false;
  #servingTold = false;

  constructor(readonly options: OpeningsOptions) {}

  isUnderWay(vdiskId: string): boolean {
    return this.#opening.has(vdiskId);
  }

  /** The start has asked for all that it opens. */
  allAsked(): void {
    this.#allAsked = true;
    this.#checkServing();
  }

  /** After the start. `done('')` when it serves; otherwise why not. */
  create(description: VdiskDescription, done: (problem: string) => void): void {
    const { vdiskId } = description;
    const { served, groups, histories, isBeingRemoved } = this.options;
    const isOver = histories?.isOver(description) === true;
    if (served.has(vdiskId) || (groups?.all.has(vdiskId) === true && !isOver)) return done('');
    if (this.#opening.has(vdiskId)) return done('it is being opened already');
    if (isBeingRemoved(vdiskId)) return done('it is being deleted');
    // What the log has of it is opened with what was recovered: by the start, and only there.
    if (!this.#allAsked) return done('this Stargate is starting');
    const damaged = groups?.damaged.get(vdiskId);
    if (!isOver && damaged !== undefined) {
      // Whoever controls it asks again.
      if (damaged.isHopeless && description.group!.isLearner === true) this.#beginAnew(description, done);
      else done('');
    } else if (!isOver) this.open(description, undefined, done);
    else if (description.group!.origin == null) this.#renew(description, done);
    else done(histories.goOnFrom(description));
  }

  /** A vdisk of this shard. `recovered` is what the start has read of its stream; undefined: it has started before. */
  open(description: VdiskDescription, recovered: RecoveryCollector | undefined, done?: (problem: string) => void): void {
    const stream = this.options.streamOf(description.vdiskId)!;
    this.#opening.add(description.vdiskId);
    if (description.group !== undefined && this.options.groups !== null) this.#openReplica(description, stream, recovered, done);
    else this.#openAlone(description, stream, recovered, done);
  }

  #openAlone(
    description: VdiskDescription,
    stream: ShardStream,
    recovered: RecoveryCollector | undefined,
    done?: (problem: string) => void,
  ): void {
    const { nodeId, ports, host, mutations, served, refusals, nextCacheOwner } = this.options;
    const { vdiskId } = description;
    openVdisk({
      description,
      nodeId,
      stream: stream.log,
      ports: { ...ports, log: stream.log },
      recovered: recovered?.vdisks.get(vdiskId),
      mayBeLost: recovered === undefined ? '' : this.#lossIn(stream),
      wasClosed: stream.report.clean,
      cacheOwner: nextCacheOwner(),
      host,
      isOutOfSpace: () => stream.scheduler.isOutOfSpace,
      rule: this.options.rules.of(vdiskId),
      ...(mutations === undefined ? {} : { mutations }),
      onServing: (controller, log) => {
        served.set(vdiskId, { controller, log, stream });
        stream.scheduler.add(controller, log);
        refusals.forget(vdiskId);
        this.#opened(vdiskId);
        done?.('');
      },
      onProblem: problem => {
        refusals.add(problem, stream);
        this.#opened(vdiskId);
        done?.(problem.message);
      },
    });
  }

  #lossIn({ report }: ShardStream): string {
    if (report.rotRanges > 0) return 'the log is damaged where its entries may have been';
    return this.options.ports.store.damagedLayers().length > 0
      ? 'a record of the block store is damaged that may have been of its layer'
      : '';
  }

  // ---------------------------------------------------------------- replicas

  #openReplica(
    description: VdiskDescription,
    stream: ShardStream,
    recovered: RecoveryCollector | undefined,
    done?: (problem: string) => void,
  ): void {
    const { vdiskId, historyId, group } = description;
    const { refusals } = this.options;
    const groups = this.options.groups!;
    const histories = this.options.histories!;
    const isOver = histories.isOver(description);
    const origin = isOver ? (group!.origin ?? null) : null;
    if (isOver && origin === null && !group!.isMember) return this.#renew(description, done);
    const { onOpen, onProblem } = this.#ends(vdiskId, stream, done);
    startReplica({
      parts: groups.parts,
      // What it goes on from is opened as what it is.
      description: { ...description, ...group!, historyId: origin === null ? historyId : stream.log.vdisk(vdiskId)!.historyId },
      stream: stream.log,
      isStart: recovered !== undefined,
      problem: refusals.messageOf(vdiskId) ?? '',
      found: recovered?.vdisks.get(vdiskId),
      isTorn: stream.report.tornBytes > 0,
      wasClosed: stream.report.clean,
      isRotten: stream.report.rotRanges > 0,
      onOpen: replica => {
        onOpen(replica);
        if (origin !== null) histories.goOnFrom(description);
      },
      onDamaged: damaged => {
        groups.damaged.set(vdiskId, damaged);
        damaged.start();
      },
      onNothing: () => {
        this.#opened(vdiskId);
        done?.('');
      },
      onProblem,
    });
  }

  /** What is here is of a history that is over: it goes, and the vdisk is begun anew where this node is a member. */
  #renew(description: VdiskDescription, done?: (problem: string) => void): void {
    this.#opening.add(description.vdiskId);
    this.options.histories!.discard(description, () => {
      this.#opened(description.vdiskId);
      if (description.group!.isMember) this.open(description, undefined, done);
      else done?.('');
    });
  }

  /** Nobody needs the replica here. Who wants one meanwhile asks again. */
  letGo(vdiskId: string): void {
    if (this.#opening.has(vdiskId) || this.options.isBeingRemoved(vdiskId)) return;
    this.#opening.add(vdiskId);
    this.options.histories!.letGo(vdiskId, () => this.#opened(vdiskId));
  }

  /** The replica's log is damaged, and its group goes on without it: nobody needs what it has. */
  #beginAnew(description: VdiskDescription, done: (problem: string) => void): void {
    const { vdiskId } = description;
    const { delays, refusals, streamOf } = this.options;
    const groups = this.options.groups!;
    const { parts } = groups;
    const stream = streamOf(vdiskId)!;
    this.#opening.add(vdiskId);
    const again = (): void => {
      if (!groups.endDamaged(vdiskId)) return delays.after(QUIET_POLL_NS, again);
      const why = refusals.messageOf(vdiskId) ?? 'its log is damaged';
      parts.events.emit({
        kind: 'replica-discarded',
        severity: 'warn',
        vdiskId,
        cause: `the log of the copy here is given up, since others have all of it: ${why}; the copy is brought up anew`,
      });
      beginAnew({
        parts,
        description: { ...description, ...description.group! },
        stream: stream.log,
        ...this.#ends(vdiskId, stream, done),
      });
    };
    again();
  }

  /** What follows when a replica is opened, or cannot be. */
  #ends(vdiskId: string, stream: ShardStream, done: ((problem: string) => void) | undefined) {
    const { refusals } = this.options;
    const groups = this.options.groups!;
    return {
      onOpen: (replica: GroupVdisk): void => {
        groups.damaged.delete(vdiskId);
        groups.add(replica);
        stream.scheduler.removeRefused(replica.log);
        stream.scheduler.add(replica.local, replica.log);
        refusals.forget(vdiskId);
        this.#opened(vdiskId);
        done?.('');
      },
      onProblem: (message: string): void => {
        refusals.add({ vdiskId, message }, stream);
        this.#opened(vdiskId);
        done?.(message);
      },
    };
  }

  #opened(vdiskId: string): void {
    this.#opening.delete(vdiskId);
    this.#checkServing();
  }

  #checkServing(): void {
    if (!this.#allAsked || this.#servingTold || this.#opening.size > 0) return;
    // Told from a turn of the engine, never from within the constructor.
    this.#servingTold = true;
    this.options.delays.after(0, () => this.options.onServing());
  }
}
