import type { Datapath } from '../datapath.js';
import { traceKind } from '../trace.js';
import type { Cluster } from './cluster.js';
import type { ClusterPath } from './cluster-path.js';
import { numberOf } from './metadata.js';

const MS = 1e6;
/** From the end of one migration to the next, at most; and from the beginning of one to its end: some are over soon, some last until a controller that is cut off has been followed. */
const MAX_PAUSE_NS = 300 * MS;
const MAX_SHARED_NS = [100 * MS, 600 * MS, 3_000 * MS];
/** Of so many targets one dies before it holds anything. */
const ONE_DIES_IN = 4;

const Shares = traceKind(generation => `migration: attachment ${generation} is let in`);
const Ends = traceKind((generation, how) => `migration: attachment ${generation} ${['dies', 'is to hold the vdisks', 'holds them'][how]}`);
const How = { dies: 0, isToHold: 1, holds: 2 } as const;

/** Tells the datapath that it is to hold the vdisks. Others write on, but their guests read no more: they run elsewhere. `done`: it does. */
export function activate(cluster: Cluster, target: Datapath, done: () => void): void {
  cluster.activated(target);
  for (const one of cluster.datapaths) if (one !== target) one.asks = 'changes';
  let left = target.clients.length;
  for (const { paths } of target.clients)
    (paths as ClusterPath).shard.activate(true, () => {
      if (--left > 0) return;
      target.asks = 'all';
      done();
    });
}

/**
 * Live migrations (rule 18), one after the other, whatever else goes wrong: another host is let in beside the one that holds the vdisks and reads; some time later it is to
 * hold them itself, or dies without a word.
 */
export class Migrations {
  /** How many targets have come to hold the vdisks. */
  done = 0;
  #target: Datapath | null = null;
  #isActivating = false;
  #isOver = false;

  constructor(
    readonly cluster: Cluster,
    readonly holder: () => Datapath,
    readonly onHolder: (datapath: Datapath) => void,
  ) {
    this.#later();
  }

  /** Nobody else is attached meanwhile: the target is to hold the vdisks. */
  get isActivating(): boolean {
    return this.#isActivating;
  }

  get isIdle(): boolean {
    return this.#target === null;
  }

  /** No more of them; who is let in holds the vdisks in the end. */
  finish(): void {
    this.#isOver = true;
    if (this.#target !== null && !this.#isActivating) this.#activate(this.#target);
  }

  #later(): void {
    const { clock } = this.cluster;
    clock.after(1 + clock.below(MAX_PAUSE_NS), () => this.#isOver || this.#begin());
  }

  #begin(): void {
    const { cluster } = this;
    const { clock } = cluster;
    const holder = this.holder();
    const isSettled = holder.clients.every(({ hasOpened, isOver }) => hasOpened && !isOver);
    // A guest goes, as often as not, to where its data is.
    if (clock.below(2) === 0) cluster.nextHome = numberOf(cluster.metadata.groups.get(cluster.vdisks[0]!.id)!.controller);
    const target = cluster.startShared(1 + clock.below(2), 1 + clock.below(4));
    cluster.nextHome = null;
    this.#target = target;
    cluster.trace.add(Shares, target.generation);
    clock.after(1 + clock.below(MAX_SHARED_NS[clock.below(MAX_SHARED_NS.length)]!), () => {
      if (this.#isOver) return;
      if (isSettled && holder === this.holder() && holder.clients.some(({ isOver }) => isOver))
        cluster.complaints.push('an attachment that is shared has ended the sessions of the one that holds the vdisks');
      if (clock.below(ONE_DIES_IN) === 0) this.#dies(target);
      else this.#activate(target);
    });
  }

  /** Without a word. */
  #dies(target: Datapath): void {
    this.cluster.trace.add(Ends, target.generation, How.dies);
    target.die();
    this.#target = null;
    this.#later();
  }

  #activate(target: Datapath): void {
    const { cluster } = this;
    // A newer attachment has been faster.
    if (target.generation < this.holder().generation) return this.#dies(target);
    this.#isActivating = true;
    cluster.trace.add(Ends, target.generation, How.isToHold);
    activate(cluster, target, () => {
      cluster.trace.add(Ends, target.generation, How.holds);
      this.done++;
      this.#isActivating = false;
      this.#target = null;
      this.onHolder(target);
      this.#later();
    });
  }
}
