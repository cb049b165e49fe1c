import { GatepathError } from '../../base/errors.js';
import { reportError } from '../../cli/output.js';
import { exit } from '../exit.js';

/** Exit status of a service that no other start would help: EX_CONFIG of sysexits.h, which systemd shows as CONFIG. The units say that it is not started again. */
export const BAD_CONFIGURATION = 78;

/** The configuration is wrong, or not that of this data directory: somebody has to change something first. */
const CONFIGURATION_CODES = new Set([
  'ERR_CONFIG',
  'ERR_ENGINE',
  'ERR_CACHE_SIZE',
  'ERR_ETCD_OPTIONS',
  'ERR_PATH_TOO_LONG',
  'ERR_SOCKET_DIRECTORY',
  'ERR_OTHER_CLUSTER',
  'ERR_SINGLE_NODE',
  'ERR_CLUSTER_DIRECTORY',
  'ERR_NODE_REMOVED',
]);

/** Of a service that systemd starts. What may be over by itself (a disk that is full, an etcd that is away, a socket that another process has) is thrown, as by every verb. */
export async function endOnBadConfiguration(start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (error) {
    if (!(error instanceof GatepathError && CONFIGURATION_CODES.has(error.code))) throw error;
    reportError(error);
    await exit(BAD_CONFIGURATION);
  }
}
