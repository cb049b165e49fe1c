import { readlinkSync } from 'node:fs';

/** A process's network namespace; null: it is gone, or not ours to see. */
export function networkOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return null;
  }
}
