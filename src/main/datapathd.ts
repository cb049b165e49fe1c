import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ControlServer } from '../control/api/server.js';
import { EventRing } from '../control/events/ring.js';
import { StatusService } from '../control/status.js';
import { addressOf, tcpTarget, unixTarget, type StreamPathTarget } from '../datapath/paths.js';
import { WireStore, type MetaEndpoint } from '../meta/wire-store.js';
import { datapathConfig, type DatapathConfig } from './config/datapath.js';
import { loadConfig } from './config/load.js';
import { metricsListening } from './config/metrics.js';
import { nbdSettings } from './config/nbd.js';
import { DatapathHost } from './datapath-host.js';
import { HandoverGiver } from './handover/giver.js';
import { Predecessor } from './handover/taker.js';
import { hostName } from './host-name.js';
import { HANDOVER_START_MS } from './limits.js';
import { createLogger, type LogFormat } from './logger.js';
import { datapathPidFile, removePidFileAt, writePidFileAt } from './pid-file.js';
import { readRememberedNodes, rememberNodes, type RememberedNode } from './remembered-nodes.js';
import { engineChoice, orStop, startShards, startThreads, stopOnSignal } from './process.js';
import { reloadOnSignal } from './reload.js';
import { ServiceManager } from './service/manager.js';
import { Watchdog } from './service/watchdog.js';
import { clearSocketPath, CONTROL_SOCKET } from './sockets.js';
import { metaSocketOf } from './stargate-host.js';
import { nbdAddress, nbdBytesAbove, startNbdTls } from './nbd.js';
import { startSuccessorOnSignal } from './successor.js';
import { connectTls, startTls } from './tls.js';
import { SOFTWARE, VERSION } from './version.js';
import { Watch } from './watch.js';

/** Beside the NBD socket: where the process that is to replace this one asks for what it serves. */
const handoverSocketOf = (nbdSocket: string): string => `${nbdSocket}.handover`;

/**
 * `gatepath datapath --config FILE`: the NBD endpoint of one host, until a signal ends it, or another process with `--replace` takes over from it. That one starts
 * wholly before it asks for anything: what fails until then is nobody's business.
 */
export async function runDatapath(configPath: string, logFormat?: LogFormat, replace = false): Promise<void> {
  const config = loadConfig(configPath, datapathConfig);
  const log = await createLogger(config.logLevel, logFormat);
  const manager = ServiceManager.take(log);
  const engine = engineChoice(config.engine);
  const threads = startThreads(config.shards);
  const host = config.host ?? hostName();
  const events = new EventRing({ source: `datapath of ${host}`, log });
  const controlSocket = config.control ?? join(dirname(config.socket), CONTROL_SOCKET);
  const handoverSocket = handoverSocketOf(config.socket);
  const predecessor = replace ? await Predecessor.meet(handoverSocket, SOFTWARE, host) : null;
  const datapathUuid = predecessor?.offer.datapathUuid ?? randomUUID();
  const follows = predecessor !== null;
  const tls = startTls(config.tls, null, log);
  const nbd = nbdSettings(config.nbd);
  const nbdTls = startNbdTls(nbd.tcp, log);
  if (predecessor === null) await clearSockets([config.socket, controlSocket, handoverSocket]);
  const nodesFile = `${config.socket}.nodes`;
  const others = otherStargates(config, readRememberedNodes(nodesFile, log));
  const local = { kind: 'unix', socketPath: config.stargate } as const;
  const targets = [local, ...others];
  const { failbackAfterMs, ioTimeoutMs } = config;
  const nbdSocket = predecessor === null ? config.socket : null;
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
        datapath: {
          datapathUuid,
          nbdSocket,
          targets,
          failbackAfterMs,
          ioTimeoutMs,
          nbdLimits: nbd.limits,
          nbdTcp: follows ? null : nbdAddress(nbd.tcp),
          nbdTls: nbdTls !== null,
        },
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
    ...(predecessor === null ? {} : { follows: predecessor.state }),
  });
  const watch = new Watch(pool, { storage: null, datapath }, log);
  const control = new ControlServer({
    watch,
    status: new StatusService({ version: VERSION, storage: null, datapath }),
    service: null,
    events,
    log,
  });
  const giver = new HandoverGiver({
    socketPath: handoverSocket,
    software: SOFTWARE,
    host,
    datapathUuid,
    datapath: datapath.main,
    log,
    onHandedOver: next => {
      // Before this one ends: its end is not the service's.
      watchdog.stop();
      manager.handOver(next);
      stopNow();
    },
  });
  /** Ours from the start, or when the process before this one has let go of them. */
  let ownsSockets = predecessor === null;
  const watchdog = new Watchdog(pool, manager, log);
  const stop = async (): Promise<void> => {
    manager.stopping();
    watchdog.stop();
    await control.close();
    await watch.close();
    datapath.close();
    tls?.refuse();
    await pool.stop();
    await tls?.stop();
    await nbdTls?.stop();
    await store.close();
    if (ownsSockets && !giver.isHandedOver) {
      for (const path of [config.socket, controlSocket]) rmSync(path, { force: true });
      removePidFileAt(datapathPidFile(config.socket));
    }
    giver.close();
    predecessor?.close();
  };
  const stopNow = stopOnSignal(log, stop);
  await orStop(stop, async () => {
    if (predecessor !== null) {
      await datapath.main.whenAllExported(HANDOVER_START_MS);
      const handed = await predecessor.take(nbdTls !== null);
      await predecessor.commit();
      ownsSockets = true;
      datapath.main.takeOver(handed, false);
      log.log('info', 'took over from the datapath that ran', { pid: predecessor.offer.pid, connections: handed.connections.length });
    }
    // Before the other one ends: whoever watches it finds here who serves now.
    writePidFileAt(datapathPidFile(config.socket));
    const listen = async (): Promise<void> => {
      await control.listen(controlSocket);
      await watch.listen(metricsListening(config));
      await giver.listen();
    };
    if (predecessor === null) return listen();
    await predecessor.whenGone();
    // Guests are served by then: it may not end for this.
    await clearSockets([controlSocket, handoverSocket])
      .then(listen)
      .catch((error: unknown) => log.log('error', 'no management API, and no replacement later', { error: (error as Error).message }));
  });
  startSuccessorOnSignal(log, manager);
  const { socket, stargate } = config;
  const status = `serving NBD at ${socket}`;
  reloadOnSignal(
    config,
    {
      load: () => loadConfig(configPath, datapathConfig),
      take: { logLevel: next => log.setLevel(next.logLevel), metrics: next => watch.listen(metricsListening(next)) },
      manager,
      status,
    },
    log,
  );
  manager.ready(status);
  watchdog.start();
  log.log('info', 'serving NBD', {
    software: SOFTWARE,
    host,
    socket,
    stargate,
    control: controlSocket,
    nbdTls: nbd.tcp?.advertised ?? null,
  });
}

async function clearSockets(paths: readonly string[]): Promise<void> {
  for (const path of paths) await clearSocketPath(path);
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
