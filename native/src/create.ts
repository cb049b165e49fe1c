import { addonFailure, loadAddon } from './addon.js';
import type { Arena } from './arena.js';
import type { Engine } from './engine.js';
import { LibuvEngine } from './libuv/libuv-engine.js';
import { UringEngine } from './uring/uring-engine.js';

export interface EngineOptions {
  readonly arena: Arena;
  /** `auto`: io_uring where it is to be had, else libuv. */
  readonly kind?: 'auto' | 'io_uring' | 'libuv';
  /** Called by `auto` with the reason why it is not io_uring. */
  readonly onFallback?: (reason: string) => void;
  /** io_uring: how long to look for completions before sleeping. */
  readonly spinNs?: number;
}

/** The engine of this thread. */
export function createEngine(options: EngineOptions): Engine {
  const { arena, kind = 'auto' } = options;
  if (kind === 'libuv') return new LibuvEngine(arena);
  try {
    return new UringEngine(arena, { spinNs: options.spinNs ?? 0 });
  } catch (error) {
    if (kind === 'io_uring') throw error;
    options.onFallback?.(loadAddon() === null ? `the addon does not load (${addonFailure()})` : (error as Error).message);
    return new LibuvEngine(arena);
  }
}
