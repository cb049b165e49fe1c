/** Small waiting helpers. Every wait in a test has a deadline and names what it waited for. */

/** Deadlines are written for a machine that has little else to do, and are there for what hangs: one that is slow, or busy, gets so much more. */
const PATIENCE = 4;

export function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

/** Polls `probe` until it gives something other than undefined/false. Rejects, naming `what`, after {@link PATIENCE} times `timeoutMs`. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  intervalMs = 50,
): Promise<T> {
  const patienceMs = timeoutMs * PATIENCE;
  const deadlineMs = Date.now() + patienceMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() >= deadlineMs) throw new Error(`timed out after ${patienceMs} ms: ${what}`);
    await sleep(intervalMs);
  }
}

/** Rejects, naming `what`, when `promise` has not settled after {@link PATIENCE} times `timeoutMs`. */
export async function within<T>(what: string, timeoutMs: number, promise: Promise<T>): Promise<T> {
  const patienceMs = timeoutMs * PATIENCE;
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out after ${patienceMs} ms: ${what}`)), patienceMs);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
