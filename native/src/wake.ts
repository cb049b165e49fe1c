import { loadAddon } from './addon.js';
import type { WakeHandle } from './engine.js';

/** Wakes the engine of another thread of this process. Cheap (one system call); several wakes may merge. */
export function wake(handle: WakeHandle): void {
  if (handle.eventFd >= 0) {
    loadAddon()!.wake(handle.eventFd);
    return;
  }
  const signal = new Int32Array(handle.signal);
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
}
