import { setTimeout as sleep } from 'node:timers/promises';

const MOST_WAIT_MS = 5_000;
const waitedFor: Promise<unknown>[] = [];

/** A process that exits while one of its threads loads modules is ended by SIGABRT instead (Node 20): whoever starts threads says when they have loaded. */
export function exitAfter(loaded: Promise<unknown>): void {
  waitedFor.push(loaded);
}

export async function exit(status: number): Promise<never> {
  await Promise.race([Promise.allSettled(waitedFor), sleep(MOST_WAIT_MS)]);
  process.exit(status);
}
