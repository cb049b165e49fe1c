import { Violation } from './checker.js';
import { Faults } from './faults.js';
import { MS } from './network.js';
import { ClusterWorld, type ClusterOptions } from './world.js';

const FAULTS_MS = 5_000;
/** In which a healed cluster has to serve again, with all replicas. */
const RECOVERY_MS = 30_000;

export interface ClusterResult {
  readonly seed: number;
  readonly hash: string;
  /** What was found, or null. */
  readonly violation: string | null;
  readonly lines: readonly string[];
  readonly counters: ClusterWorld['counters'];
  readonly events: number;
}

/** One history, from its seed: faults while clients write, then peace, in which everything has to come to rest. */
export function runCluster(options: ClusterOptions): ClusterResult {
  const world = new ClusterWorld(options);
  const run = new Run(world);
  let violation: string | null = null;
  try {
    run.run();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // An assert of the core is a violation too: its stack says where.
    violation = error instanceof Violation ? error.message : (error.stack ?? error.message);
  }
  return { seed: options.seed, hash: world.hash, violation, lines: world.lines, counters: world.counters, events: run.events };
}

class Run {
  events = 0;
  #silentSince = 0;
  #isQuiet = false;

  constructor(readonly world: ClusterWorld) {}

  run(): void {
    const { world } = this;
    for (const node of world.nodes) node.start(world.mutations);
    const faults = new Faults(world);
    this.#clients();
    this.#until(FAULTS_MS, () => false);
    faults.heal();
    this.#checkRecovery();
    this.#checkReplicas();
  }

  #until(ms: number, done: () => boolean): boolean {
    const { clock } = this.world;
    const endNs = clock.nowNs + ms * MS;
    while (clock.nextNs() <= endNs) {
      clock.step();
      this.events++;
      if (done()) return true;
    }
    return false;
  }

  /** Writes, and somebody who asks another member when nothing is committed for a while; placement. */
  #clients(): void {
    const { world } = this;
    const { clock } = world;
    let committed = 0;
    let patienceMs = 500;
    const every = (ms: number, run: () => unknown): void => {
      clock.after(Math.ceil((0.5 + clock.random()) * ms * MS), () => {
        run();
        every(ms, run);
      });
    };
    every(12, () => this.#isQuiet || world.write());
    every(200, () => world.showAlive());
    every(300, () => world.place());
    every(60, () => {
      const nowMs = clock.nowNs / MS;
      const { committedSeq } = world.checker;
      if (committedSeq !== committed) this.#silentSince = nowMs;
      committed = committedSeq;
      if (this.#isQuiet || nowMs - this.#silentSince < patienceMs) return;
      this.#silentSince = nowMs;
      patienceMs = 300 + clock.random() * 1200;
      world.takeOver(world.pick(world.holders));
    });
  }

  #checkRecovery(): void {
    const { world } = this;
    /** Where the log ended when all replicas were there: something behind it is to be committed. */
    let endSeq = -1;
    const isDone = (): boolean => {
      const { controller, group } = world;
      if (controller === undefined || group.members.length !== world.replicationFactor) endSeq = -1;
      else if (endSeq < 0) endSeq = controller.replica!.member.log.lastSeq;
      return endSeq >= 0 && world.checker.committedSeq > endSeq;
    };
    if (!this.#until(RECOVERY_MS, () => isDone() || this.#needsPerson)) {
      const { epoch, members, controller } = world.group;
      throw new Violation(`no progress after everything has healed: epoch ${epoch}, ${controller} {${members.join(' ')}}`);
    }
    // Nobody writes any more; what is under way arrives.
    this.#isQuiet = true;
    this.#until(3_000, () => false);
  }

  /** Rule 5: a member whose tail was torn has to compare, and the only other replica is gone for good. Nobody but a person may go on. */
  get #needsPerson(): boolean {
    const { holders, group } = this.world;
    const [last] = holders;
    // The only replica was lost while the proposal that made it the only one was under way.
    if (last === undefined) return true;
    return holders.length === 1 && group.members.length > 1 && last.replica?.member.isTorn === true && !last.isServing;
  }

  #checkReplicas(): void {
    const { world } = this;
    if (this.#needsPerson) return;
    const { controller } = world;
    if (controller === undefined) throw new Violation('nobody serves in peace');
    const { log } = controller.replica!.member;
    world.checker.holdsAll('in the end', log);
    for (const node of world.members) world.checker.equal(node.id, node.replica!.member.log, controller.id, log);
    for (const node of world.members) {
      const found = node.disk.recover().entries.length;
      if (found !== log.lastSeq) throw new Violation(`divergent: the disk of ${node.id} ends at ${found}, the log at ${log.lastSeq}`);
    }
  }
}
