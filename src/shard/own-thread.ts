import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';

/** The system's number of the thread that asks; null where /proc does not say. */
export function ownThreadId(): number | null {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return null;
  }
}

/** Where processors are short, the thread that asks lets others go first: `niceness` 1 to 19. Without effect where that cannot be had. */
export function yieldToOthers(niceness: number): void {
  const thread = ownThreadId();
  // Without a number it would be the whole process.
  if (thread === null) return;
  try {
    setPriority(thread, niceness);
  } catch {
    // It is slower so, and no less right.
  }
}
