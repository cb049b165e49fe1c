import { formatSize } from '../../base/size.js';
import { GatepathError } from '../../base/errors.js';
import type { ControlClient } from '../../control/client.js';
import { FULL_BYTES, SPENT_BYTES } from './limits.js';

const DEFAULT_CONTAINER = 'default';

/** A copy has failed: says so, and which space has run out, where that is the cause. To be asked before what was copied is given back. */
export async function withLack(
  error: unknown,
  connect: () => Promise<ControlClient>,
  name: string,
  container = DEFAULT_CONTAINER,
): Promise<unknown> {
  if (!(error instanceof GatepathError) || error.code !== 'ERR_COPY') return error;
  const lack = await lackOf(connect, container).catch(() => null);
  if (lack === null) return error;
  const message = `vdisk "${name}" is ${error.message}; ${lack.what}`;
  return new GatepathError('noSpace', 'ERR_NO_SPACE', message, `nothing of it is left; ${lack.action}`, { cause: error });
}

/** Null: there is space. */
async function lackOf(
  connect: () => Promise<ControlClient>,
  container: string,
): Promise<{ readonly what: string; readonly action: string } | null> {
  const client = await connect();
  const { quotaBytes, allocatedBytes, logBytes } = await client.showContainer(container);
  const usedBytes = allocatedBytes + logBytes;
  if (quotaBytes !== null && usedBytes + SPENT_BYTES > quotaBytes) {
    const what = `the quota of container "${container}" is used up: ${formatSize(usedBytes)} of ${formatSize(quotaBytes)}, with this import`;
    return { what, action: `raise it: gatepath container set ${container} --quota SIZE` };
  }
  const full = (await client.listNodes()).filter(({ freeBytes }) => freeBytes !== null && freeBytes < FULL_BYTES);
  if (full.length === 0) return null;
  const where = full.map(({ id, freeBytes }) => `${id} (${formatSize(freeBytes!)} left)`).join(', ');
  return { what: `there is no space on ${where}`, action: 'make room there, and try again' };
}
