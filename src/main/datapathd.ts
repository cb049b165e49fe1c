import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ControlServer } from '../control/api/server.js';
import { EventRing } from '../control/events/ring.js';
import { StatusService } from '../control/status.js';
import { addressOf, tcpTarget, unixTarget, type StreamPathTarget } from '../datapath/paths.js';
import { WireStore, type MetaEndpoint } from '../meta/wire-store.js';
import { datapathConfig, type DatapathConfig } from './config/datapath.js';
import { loadConfig } from './config/load.js';
import { nbdSettings } from './config/nbd.js';
import { DatapathHost } from './datapath-host.js';
import { hostName } from './host-name.js';
import { createLogger, type LogFormat } from './logger.js';
import { readRememberedNodes, rememberNodes, type RememberedNode } from './remembered-nodes.js';
import { engineChoice, orStop, startShards, startThreads, stopOnSignal } from './process.js';
import { clearSocketPath, CONTROL_SOCKET } from './sockets.js';
import { metaSocketOf } from './stargate-host.js';
import { nbdAddress, nbdBytesAbove, startNbdTls } from './nbd.js';
import { connectTls, startTls } from './tls.js';
import { SOFTWARE, VERSION } from './version.js';

/** `gatepath datapath --config FILE`: the NBD endpoint of one host, until a signal ends it. */
export async function runDatapath(configPath: string, logFormat?: LogFormat): Promise<void> {
  const config = loadConfig(configPath, datapathConfig);
  const log = await createLogger(config.logLevel, logFormat);
  const engine = engineChoice(config.engine);
  const threads = startThreads(config.shards);
  const host = config.host ?? hostName();
  const events = new EventRing({ source: `datapath of ${host}`, log });
  const datapathUuid = randomUUID();
  const tls = startTls(config.tls, null, log);
  const nbd = nbdSettings(config.nbd);
  const nbdTls = startNbdTls(nbd.tcp, log);
  const controlSocket = config.control ?? join(dirname(config.socket), CONTROL_SOCKET);
  for (const path of [config.socket, controlSocket]) {
    mkdirSync(dirname(path), { recursive: true });
    await clearSocketPath(path);
  }
  const nodesFile = `${config.socket}.nodes`;
  const others = otherStargates(config, readRememberedNodes(nodesFile, log));
  const local = { kind: 'unix', socketPath: config.stargate } as const;
  const targets = [local, ...others];
  const { failbackAfterMs } = config;
  const pool = await startShards({
    threads,
    cacheBytes: 0,
    log,
    events,
    parts: 2,
    nbdBytes: nbdBytesAbove(nbd.limits),
    settings: () => ({
      settings: {
        engine,
        tls: tls !== null,
        stargate: null,
        datapath: { datapathUuid, nbdSocket: config.socket, targets, failbackAfterMs, nbdLimits: nbd.limits, nbdTcp: nbdAddress(nbd.tcp) },
      },
      transfer: [],
    }),
    prepare: started => {
      tls?.attach(started);
      nbdTls?.attach(started);
    },
  });
  const store = new WireStore({
    socketPath: metaSocketOf(config.stargate),
    others: metaEndpoints(others),
    software: SOFTWARE,
    ...(tls === null ? {} : { connectTcp: connectTls(tls.options.credentials) }),
  });
  const datapath = new DatapathHost({
    store,
    host,
    datapathUuid,
    nbdSocket: config.socket,
    nbdTls: nbd.tcp?.advertised ?? null,
    pool,
    log,
    local,
    localNode: config.node ?? null,
    onNodes: records => {
      store.setOthers(metaEndpoints(otherStargates(config, records)));
      rememberNodes(nodesFile, records, log);
    },
  });
  const control = new ControlServer({
    status: new StatusService({ version: VERSION, storage: null, datapath }),
    service: null,
    events,
    log,
  });
  const stop = async (): Promise<void> => {
    await control.close();
    datapath.close();
    tls?.refuse();
    await pool.stop();
    await tls?.stop();
    await nbdTls?.stop();
    for (const path of [config.socket, controlSocket]) rmSync(path, { force: true });
    await store.close();
  };
  stopOnSignal(log, stop);
  await orStop(stop, () => control.listen(controlSocket));
  const { socket, stargate } = config;
  log.log('info', 'serving NBD', {
    software: SOFTWARE,
    host,
    socket,
    stargate,
    control: controlSocket,
    nbdTls: nbd.tcp?.advertised ?? null,
  });
}

/** Of the other Stargates: those of the configuration first, then those that are known. */
function otherStargates(
  { stargate, stargates }: DatapathConfig,
  known: readonly Pick<RememberedNode, 'id' | 'addresses'>[],
): StreamPathTarget[] {
  const targets = [
    ...stargates,
    ...known.map(({ id, addresses: { unix, tcp } }) => (tcp === null ? unixTarget(unix) : tcpTarget(tcp, id))),
  ];
  const byAddress = new Map(targets.map(target => [addressOf(target), target]));
  byAddress.delete(addressOf(unixTarget(stargate)));
  return [...byAddress.values()];
}

/** Over TCP one listener serves sessions and metadata. */
const metaEndpoints = (targets: readonly StreamPathTarget[]): MetaEndpoint[] =>
  targets.map(target => (target.kind === 'unix' ? { path: metaSocketOf(target.socketPath) } : target));
