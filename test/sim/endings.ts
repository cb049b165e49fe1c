import type { FaultOperation, VirtualClock } from 'uring-engine/faulty';
import type { World } from './world.js';

/** How a life of the node ends. */
export type How = 'power' | 'kill' | 'stop';

/** Moments that matter to a disk format: between the steps of a crash order. */
const MOMENTS: Readonly<Record<string, (operation: FaultOperation, path: string, atBytes: number) => boolean>> = {
  batch: (operation, path, at) => operation === 'write' && path.endsWith('.seg') && at > 0,
  header: (operation, path, at) => operation === 'write' && path.endsWith('.seg') && at === 0,
  segment: (_operation, path) => path.endsWith('.new'),
  extent: (operation, path) => operation === 'write' && path.endsWith('.ext'),
  punch: (operation, path) => operation === 'allocate' && path.endsWith('.ext'),
  sync: (operation, path) => operation === 'sync' && path.endsWith('.ext'),
  names: operation => operation === 'syncDirectory',
};
export type Moment = 'time' | 'call' | 'commit' | keyof typeof MOMENTS;

/** Which moments a run prefers; a directed one says one only. */
export const ALL_MOMENTS: readonly Moment[] = ['time', 'time', 'time', 'call', 'commit', ...Object.keys(MOMENTS)];

/** When a life ends, and how: decided at its start, found out as it goes. */
export class Ending {
  readonly moment: Moment;
  #left: number;
  /** Events that still happen after the moment: its completion is told, or not. */
  #after: number;
  #dueNs = Infinity;
  #commits = 0;
  #reached = false;

  constructor(
    readonly clock: VirtualClock,
    readonly world: World,
    readonly how: How,
    moments: readonly Moment[],
    maxLifeNs: number,
  ) {
    this.moment = moments[clock.below(moments.length)]!;
    this.#left = 1 + (clock.below(4) === 0 ? 0 : clock.below(this.moment === 'batch' ? 150 : this.moment === 'call' ? 40 : 12));
    this.#after = clock.below(3) === 0 ? clock.below(12) : 0;
    this.#dueNs = clock.nowNs + (this.moment === 'time' ? clock.below(maxLifeNs) : maxLifeNs);
    // Synchronous calls are cut short by the disk itself: in a start, or later.
    if (this.moment === 'call') world.node.disk.cutPowerAfterCalls(this.#left);
    const matches = MOMENTS[this.moment];
    if (matches !== undefined) {
      world.onDisk = (operation, path, at) => {
        if (matches(operation, path, at) && --this.#left === 0) this.#reached = true;
      };
    }
  }

  /** Asked after each event. */
  get isDue(): boolean {
    const { node } = this.world;
    if (node.disk.isOff || this.clock.nowNs >= this.#dueNs) return true;
    if (this.moment === 'commit') {
      const commits = node.store?.commits ?? 0;
      if (commits > this.#commits) {
        this.#commits = commits;
        if (--this.#left === 0) this.#reached = true;
      }
    }
    return this.#reached && this.#after-- <= 0;
  }

  /** The life is over. */
  end(): void {
    this.world.onDisk = () => undefined;
    this.world.node.disk.cutPowerAfterCalls(Infinity);
  }
}
