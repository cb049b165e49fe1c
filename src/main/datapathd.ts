import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { WireStore } from '../meta/wire-store.js';
import { datapathConfig } from './config/datapath.js';
import { loadConfig } from './config/load.js';
import { DatapathHost } from './datapath-host.js';
import { hostName } from './host-name.js';
import { createLogger, engineChoice, startShards, stopOnSignal } from './process.js';
import { clearSocketPath } from './sockets.js';
import { metaSocketOf } from './stargate-host.js';
import { SOFTWARE } from './version.js';

/** `gatepath datapath --config FILE`: the NBD endpoint of one host, until a signal ends it. */
export async function runDatapath(configPath: string): Promise<void> {
  const config = loadConfig(configPath, datapathConfig);
  const log = createLogger(config.logLevel);
  const engine = engineChoice(config.engine);
  const host = config.host ?? hostName();
  const datapathUuid = randomUUID();
  mkdirSync(dirname(config.socket), { recursive: true });
  await clearSocketPath(config.socket);
  const targets = [{ kind: 'unix', socketPath: config.stargate }] as const;
  const pool = await startShards({
    count: config.shards,
    cacheBytes: 0,
    log,
    parts: 2,
    settings: () => ({
      settings: { engine, stargate: null, datapath: { datapathUuid, nbdSocket: config.socket, targets } },
      transfer: [],
    }),
  });
  const store = new WireStore({ socketPath: metaSocketOf(config.stargate), software: SOFTWARE });
  const datapath = new DatapathHost({ store, host, datapathUuid, nbdSocket: config.socket, pool, log });
  log.log('info', 'serving NBD', { software: SOFTWARE, host, socket: config.socket, stargate: config.stargate });
  stopOnSignal(log, async () => {
    datapath.close();
    await pool.stop();
    rmSync(config.socket, { force: true });
    await store.close();
  });
}
