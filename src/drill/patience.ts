import { GatepathError } from '../base/errors.js';
import { sleep } from './cluster.js';
import { HEALTH_POLL_MS, STALL_MS } from './limits.js';

export interface Progress {
  readonly isDone: boolean;
  /** How far it is, in words: as long as they change, it goes on. */
  readonly text: string;
}

/** Until it is done, however slow the machine is; fails when nothing has changed for a long time. */
export async function whileItGoesOn(what: string, look: () => Progress | Promise<Progress>, stallMs = STALL_MS): Promise<void> {
  let changedMs = performance.now();
  let last: string | undefined;
  for (;;) {
    const { isDone, text } = await look();
    if (isDone) return;
    const nowMs = performance.now();
    if (text !== last) [last, changedMs] = [text, nowMs];
    if (nowMs - changedMs > stallMs) {
      throw new GatepathError(
        'retryable',
        'ERR_STALLED',
        `${what}: nothing has changed for ${stallMs} ms: ${text}`,
        'see the logs of the nodes',
      );
    }
    await sleep(HEALTH_POLL_MS);
  }
}
