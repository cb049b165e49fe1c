import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ControlServer } from '../control/api/server.js';
import { ControlService } from '../control/service.js';
import { loadConfig } from './config/load.js';
import { stargateConfig } from './config/stargate.js';
import { hostName } from './host-name.js';
import { managedNode } from './managed-node.js';
import { createLogger, endNow, engineChoice, startShards, stopOnSignal } from './process.js';
import { checkSocketPath } from './sockets.js';
import { metaSocketOf, StargateHost } from './stargate-host.js';
import { SOFTWARE, VERSION } from './version.js';

/** `gatepath stargate --config FILE`: the storage service of one node, until a signal ends it. */
export async function runStargate(configPath: string): Promise<void> {
  const config = loadConfig(configPath, stargateConfig);
  const log = createLogger(config.logLevel);
  const controlSocket = join(config.data, CONTROL_SOCKET);
  const engine = engineChoice(config.engine);
  mkdirSync(dirname(config.socket), { recursive: true });
  await checkSocketPath(config.socket);
  await checkSocketPath(metaSocketOf(config.socket));
  const host = await StargateHost.open({
    dataDirectory: config.data,
    nodeId: config.node,
    shards: config.shards,
    cacheBytes: config.cache,
    oplogBytes: config.oplog,
    stargateSocket: config.socket,
    log,
    onFatal: message => endNow(log, message),
  });
  await checkSocketPath(controlSocket);
  const pool = await startShards({
    count: config.shards,
    cacheBytes: config.cache,
    log,
    parts: 2,
    settings: () => {
      const { settings, transfer } = host.shardSettings();
      return { settings: { engine, stargate: settings, datapath: null }, transfer: [transfer] };
    },
  });
  await host.serve(pool);
  const service = new ControlService({ store: host.store, node: managedNode(host), version: VERSION, defaultHost: hostName() });
  const control = new ControlServer(service, log);
  await control.listen(controlSocket);
  log.log('info', 'serving', { software: SOFTWARE, node: config.node, socket: config.socket, control: controlSocket });
  stopOnSignal(log, async () => {
    await control.close();
    await pool.stop();
    await host.close();
  });
}

/** In a node's data directory: the management API. */
export const CONTROL_SOCKET = 'control.sock';
