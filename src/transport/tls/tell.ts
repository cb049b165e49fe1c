import type { LogLevel } from '../../base/log.js';
import { MAX_TOLD, TELL_AGAIN_MS } from './limits.js';

export type Say = (level: LogLevel, message: string, fields: Record<string, unknown>) => void;

/** Troubles with connections, which come in hundreds where somebody tries again and again: each is told now and then. */
export class Troubles {
  readonly #toldMs = new Map<string, number>();

  constructor(
    private readonly say: Say,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  tell(message: string, address: string, why: string): void {
    const key = `${address} ${why}`;
    const nowMs = this.nowMs();
    const toldMs = this.#toldMs.get(key);
    if (toldMs !== undefined && nowMs - toldMs < TELL_AGAIN_MS) return;
    // Whoever makes up ever new troubles is told of ever again, and does not fill the memory.
    if (this.#toldMs.size >= MAX_TOLD) this.#toldMs.clear();
    this.#toldMs.set(key, nowMs);
    this.say('warn', message, { address, why });
  }
}
