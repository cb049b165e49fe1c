import { setTimeout as delay } from 'node:timers/promises';
import { GatepathError } from '../base/errors.js';
import { Qmp } from './qmp.js';

const POLL_MS = 20;

/** States of a migration from which it still gets to its switch-over. */
const UNDER_WAY = new Set(['setup', 'active', 'device', 'wait-unplug']);

/**
 * The moment at which the disk changes hands in a live migration of QEMU: the guest is stopped at the source, all its requests are answered, and at the target it does not
 * run yet. There QEMU waits (capability pause-before-switchover, state pre-switchover) until it is told to go on. `activate` failed: it waits still, and
 * the migration can be cancelled.
 */
export async function continueMigration(qmpPath: string, activate: () => Promise<void>): Promise<void> {
  const qmp = await Qmp.open(qmpPath);
  try {
    await checkPauses(qmp, qmpPath);
    await untilPaused(qmp, qmpPath);
    await activate();
    await qmp.execute('migrate-continue', { state: 'pre-switchover' });
  } finally {
    qmp.close();
  }
}

async function checkPauses(qmp: Qmp, qmpPath: string): Promise<void> {
  const all = (await qmp.execute('query-migrate-capabilities')) as { capability: string; state: boolean }[];
  if (all.some(({ capability, state }) => capability === 'pause-before-switchover' && state)) return;
  const message = `the QEMU at ${qmpPath} does not wait before the switch-over of a migration`;
  const action = 'before "migrate": migrate-set-capabilities {"capabilities": [{"capability": "pause-before-switchover", "state": true}]}';
  throw new GatepathError('invalid', 'ERR_MIGRATION', message, action);
}

/** As long as the migration takes: how long that is, is for those to say who began it. */
async function untilPaused(qmp: Qmp, qmpPath: string): Promise<void> {
  for (;;) {
    const { status = 'none' } = (await qmp.execute('query-migrate')) as { status?: string };
    if (status === 'pre-switchover') return;
    if (!UNDER_WAY.has(status)) {
      const message = `the QEMU at ${qmpPath} has no migration under way (${status})`;
      throw new GatepathError('invalid', 'ERR_MIGRATION', message, 'begin it first ("migrate"); the vdisk was not activated');
    }
    await delay(POLL_MS);
  }
}
