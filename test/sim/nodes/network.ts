import type { VirtualClock } from 'uring-engine/faulty';
import type { Wire } from '../link.js';

/**
 * Who can reach whom: nodes by number, 0 is the metadata store. What goes over a connection that is cut off is held until the network is whole again, as TCP does; whoever does
 * not want to wait gives the connection up.
 */
export class Network {
  readonly #blocked = new Set<string>();
  readonly #held = new Map<string, (() => void)[]>();

  constructor(readonly clock: VirtualClock) {}

  isClear(from: number, to: number): boolean {
    return from === to || !this.#blocked.has(`${from}>${to}`);
  }

  isWhole(a: number, b: number): boolean {
    return this.isClear(a, b) && this.isClear(b, a);
  }

  /** One way. */
  block(from: number, to: number): void {
    if (from !== to) this.#blocked.add(`${from}>${to}`);
  }

  clear(from: number, to: number): void {
    const key = `${from}>${to}`;
    if (!this.#blocked.delete(key)) return;
    const held = this.#held.get(key) ?? [];
    this.#held.delete(key);
    for (const arrive of held) arrive();
  }

  heal(): void {
    for (const key of [...this.#blocked]) this.clear(...(key.split('>').map(Number) as [number, number]));
  }

  wire(from: number, to: number): Wire {
    return arrive => {
      if (this.isClear(from, to)) return arrive();
      const key = `${from}>${to}`;
      const held = this.#held.get(key) ?? [];
      held.push(arrive);
      this.#held.set(key, held);
    };
  }
}
