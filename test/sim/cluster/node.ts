import type { Effect, ReplicaEvent, ReplicationMutations } from '../../../src/stargate/core/replication/effects.js';
import type { MemberId } from '../../../src/stargate/core/replication/entry.js';
import type { Message } from '../../../src/stargate/core/replication/messages.js';
import { bootedMember } from '../../../src/wire/replicate.js';
import { Replica } from '../../../src/stargate/core/replication/replica.js';
import { makeEntry } from './body.js';
import { Violation } from './checker.js';
import { describeEffect } from './describe.js';
import { SimDisk } from './disk.js';
import { MS } from './network.js';
import type { ClusterWorld } from './world.js';

const TICK_MS = 50;
const CAS_TIMEOUT_MS = 150;

/** A node: its disk, and the process that runs on it now. Runs the effects of its replica. */
export class SimNode {
  readonly disk = new SimDisk();
  replica: Replica | null = null;
  incarnation = 1;
  boots = 0;
  /** Of its processes. */
  #starts = 0;
  isHung = false;
  #committed = 0;
  #answered = 0;
  /** What came while it was paused. */
  #held: (() => void)[] | null = null;
  #isSyncing = false;
  #nonces = 0;

  constructor(
    readonly world: ClusterWorld,
    readonly index: number,
  ) {}

  /** Its store. */
  get base(): MemberId {
    return `n${this.index}/${this.incarnation}` as MemberId;
  }

  /** With `durability: flush` this start of it. The mutant is the same after a restart. */
  get id(): MemberId {
    const { isForgetful, options } = this.world;
    return isForgetful && options.mutant !== 'memoryKept' ? bootedMember(this.base, this.#starts) : this.base;
  }

  /** One start of it. */
  get process(): string {
    return `${this.id} (start ${this.boots})`;
  }

  get isUp(): boolean {
    return this.replica !== null;
  }

  get isPaused(): boolean {
    return this.#held !== null;
  }

  get isServing(): boolean {
    return this.replica?.takeover.state.kind === 'serving';
  }

  get term(): number {
    return this.replica?.takeover.leader?.term ?? 0;
  }

  // ---------------------------------------------------------------- life

  start(mutations: ReplicationMutations): void {
    const { world } = this;
    const { replicationFactor, minMembers } = world;
    this.boots++;
    this.#starts++;
    this.#isSyncing = this.isHung = false;
    this.#committed = 0;
    const newNonce = (): string => `${this.id}-${this.boots}-${++this.#nonces}`;
    const recovered = this.disk.recover();
    world.say(
      () =>
        `${this.id} starts: log to ${recovered.entries.length}, promised t${recovered.promise?.term ?? 0}${recovered.isTorn ? ', torn' : ''}`,
    );
    const { durability = 'always' } = world.options;
    this.replica = new Replica(
      { self: this.id, historyId: 1, replicationFactor, minMembers, durability, makeEntry, newNonce, mutations },
      recovered,
    );
    this.#answered = 0;
    this.#tick(this.boots);
  }

  crash(): void {
    const { clock } = this.world;
    this.disk.crash(clock.below(this.disk.underWay + 1), clock.below(2) === 0);
    this.world.say(() => `${this.id} crashes`);
    this.boots++;
    this.replica = null;
    this.#held = null;
  }

  /** An empty disk under a known name: another incarnation. The mutant takes it for the one that it was. */
  wipe(isKept: boolean): void {
    this.crash();
    this.disk.wipe();
    if (!isKept) this.incarnation++;
    this.world.say(() => `its disk is empty: ${this.id} from now on`);
  }

  pause(): void {
    this.#held ??= [];
  }

  resume(): void {
    const held = this.#held;
    this.#held = null;
    held?.forEach(run => run());
  }

  // ---------------------------------------------------------------- events

  step(event: ReplicaEvent): void {
    if (this.replica === null) return;
    for (const effect of this.replica.step(event)) this.#run(effect);
  }

  deliver(to: MemberId, message: Message): void {
    this.#now(this.boots, () => {
      if (to === this.id) this.step({ kind: 'message', message });
    });
  }

  /** Unless that process is gone; later, if it is paused. */
  #now(boot: number, run: () => void): void {
    if (boot !== this.boots || this.replica === null) return;
    if (this.#held !== null) this.#held.push(() => this.#now(boot, run));
    else run();
  }

  #tick(boot: number): void {
    if (boot !== this.boots) return;
    if (this.#held === null) this.step({ kind: 'tick', nowMs: Math.round(this.world.clock.nowNs / MS) });
    this.world.clock.after(TICK_MS * MS, () => this.#tick(boot));
  }

  // ---------------------------------------------------------------- effects

  #run(effect: Effect): void {
    const { world } = this;
    const boot = this.boots;
    world.say(() => `${this.id} ${describeEffect(effect)}`);
    switch (effect.kind) {
      case 'send': {
        const { to, message } = effect;
        const target = world.nodeOf(to);
        return world.network.send(this.index, target.index, () => target.deliver(to, message));
      }
      case 'persist':
        world.checker.stored(this.id, effect.record, world.metadata.group);
        this.disk.write(effect);
        return this.#sync(boot);
      case 'cas':
        world.counters.proposals++;
        return this.#cas(boot, effect);
      case 'readGroup':
        return this.#toMetadata(boot, () => {
          const { group } = world.metadata;
          const { seen } = world;
          return () => this.step({ kind: 'group', readId: effect.readId, group, seen });
        });
      case 'committed': {
        const { log } = this.replica!.member;
        const fromSeq = this.#committed + 1;
        this.#committed = effect.seq;
        world.counters.commits += effect.seq - fromSeq + 1;
        return world.checker.committed(this.process, log, fromSeq, effect.seq);
      }
      case 'held': {
        const { log } = this.replica!.member;
        const fromSeq = this.#answered + 1;
        this.#answered = effect.seq;
        return world.checker.answered(this.term, log, fromSeq, effect.seq);
      }
      case 'serving':
        world.counters.takeovers++;
        this.#committed = 0;
        this.#answered = this.replica!.member.log.lastSeq;
        return world.checker.serving(this.process, effect.term, this.replica!.member.log, world.metadata.group);
      case 'resigned':
      case 'admitted':
      case 'alarm':
        world.counters[effect.kind]++;
        return;
      case 'confirmed':
        return;
      case 'discard':
        throw new Violation(`${this.id} removes its copy: nobody says here that it is one too many`);
      case 'resync':
        throw new Violation(`${this.id} is to copy extents to ${effect.member}: every log here has all of its entries`);
    }
  }

  #cas(boot: number, { group, expectedEpoch }: Extract<Effect, { kind: 'cas' }>): void {
    const { world } = this;
    let isAnswered = false;
    this.#toMetadata(boot, () => {
      const before = world.metadata.group;
      const outcome = world.metadata.cas(expectedEpoch, group);
      if (before !== world.metadata.group) world.recordChanged(before);
      if (before !== world.metadata.group)
        world.say(() => `record: epoch=${group.epoch} term=${group.term} ${group.controller} {${group.members.join(' ')}}`);
      return () => {
        isAnswered = true;
        this.step({ kind: 'casResult', nonce: group.nonce, outcome });
      };
    });
    const giveUp = (): void => {
      if (isAnswered) return;
      world.counters.unknown++;
      this.step({ kind: 'casResult', nonce: group.nonce, outcome: { kind: 'unknown' } });
    };
    world.clock.after(CAS_TIMEOUT_MS * MS, () => this.#now(boot, giveUp));
  }

  /** Asks the metadata store; `ask` is carried out there, what it returns when the answer is here. */
  #toMetadata(boot: number, ask: () => () => void): void {
    const { network } = this.world;
    const store = network.size - 1;
    network.send(this.index, store, () => {
      const answer = ask();
      network.send(store, this.index, () => this.#now(boot, answer));
    });
  }

  /** One sync at a time takes all that is there. */
  #sync(boot: number): void {
    if (this.#isSyncing || this.disk.underWay === 0) return;
    this.#isSyncing = true;
    const count = this.disk.underWay;
    const { clock } = this.world;
    const delay = (0.1 + clock.random() * this.world.syncMs) * MS + (this.isHung ? 2000 * MS : 0);
    clock.after(Math.ceil(delay), () => {
      if (boot !== this.boots) return;
      const ticket = this.disk.sync(count);
      this.#now(boot, () => {
        this.#isSyncing = false;
        this.step({ kind: 'durable', ticket });
        this.#sync(boot);
      });
    });
  }
}
