import type { VirtualClock } from 'uring-engine/faulty';
import type { Wire } from '../link.js';

/** Nodes, the metadata store, and machines of datapaths alone. */
const MAX_PLACES = 1_024;

/**
 * Who can reach whom: nodes by number, 0 is the metadata store. What goes over a connection that is cut off is held until the network is whole again, as TCP does; whoever does
 * not want to wait gives the connection up.
 */
export class Network {
  readonly #blocked = new Set<number>();
  readonly #held = new Map<number, (() => void)[]>();

  constructor(readonly clock: VirtualClock) {}

  isClear(from: number, to: number): boolean {
    return this.#blocked.size === 0 || from === to || !this.#blocked.has(wayOf(from, to));
  }

  isWhole(a: number, b: number): boolean {
    return this.isClear(a, b) && this.isClear(b, a);
  }

  /** One way. */
  block(from: number, to: number): void {
    if (from !== to) this.#blocked.add(wayOf(from, to));
  }

  clear(from: number, to: number): void {
    this.#clear(wayOf(from, to));
  }

  #clear(way: number): void {
    if (!this.#blocked.delete(way)) return;
    const held = this.#held.get(way) ?? [];
    this.#held.delete(way);
    for (const arrive of held) arrive();
  }

  heal(): void {
    for (const way of [...this.#blocked]) this.#clear(way);
  }

  wire(from: number, to: number): Wire {
    return arrive => {
      if (this.isClear(from, to)) return arrive();
      const way = wayOf(from, to);
      const held = this.#held.get(way) ?? [];
      held.push(arrive);
      this.#held.set(way, held);
    };
  }
}

const wayOf = (from: number, to: number): number => from * MAX_PLACES + to;
