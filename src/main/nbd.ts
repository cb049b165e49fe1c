import assert from 'node:assert/strict';
import {
  DEFAULT_LIMITS,
  MAX_REQUESTS_PER_CONNECTION,
  serverRegionBytes,
  TlsThread,
  type ServerLimits,
  type TlsHandover,
} from 'nbd-server-ts';
import type { Logger } from '../base/log.js';
import { MAX_UNANSWERED, MAX_WAITING } from '../datapath/limits.js';
import { DatapathTopic } from '../datapath/messages.js';
import type { ShardPool } from '../shard/pool.js';
import type { NbdSettings } from './config/nbd.js';
import { MAX_NBD_CONNECTIONS } from './limits.js';
import { endNow } from './process.js';

// Each large one may have been cut into pieces; twice as many at once are more than there ever are.
assert(
  2 * MAX_NBD_CONNECTIONS * MAX_REQUESTS_PER_CONNECTION <= MAX_UNANSWERED + MAX_WAITING,
  'what NBD takes in has its place in one session',
);

export interface NbdTls {
  /** To be called before the shards start. */
  attach(pool: Pick<ShardPool, 'on'>): void;
  stop(): Promise<void>;
}

/** The thread that does TLS for NBD clients of other machines; null: there are none. */
export function startNbdTls(tcp: NbdSettings['tcp'], log: Logger): NbdTls | null {
  if (tcp === null) return null;
  const thread = new TlsThread(tcp.credentials, error => endNow(log, `the TLS thread of NBD has crashed: ${error.stack ?? error.message}`));
  return {
    attach: pool =>
      pool.on(DatapathTopic.secure, message => {
        const { clientFd, plainFd, head } = message as TlsHandover;
        thread.terminate(clientFd, plainFd, head);
      }),
    stop: () => thread.stop(),
  };
}

export const nbdAddress = (tcp: NbdSettings['tcp']): { host: string; port: number } | null =>
  tcp === null ? null : { host: tcp.host, port: tcp.port };

/** Memory of a shard's NBD server beyond what the default limits take. */
export function nbdBytesAbove(limits: Partial<ServerLimits>): number {
  return Math.max(0, serverRegionBytes({ ...DEFAULT_LIMITS, ...limits }) - serverRegionBytes(DEFAULT_LIMITS));
}
