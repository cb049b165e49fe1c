import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ControlServer } from '../control/api/server.js';
import { EventRing } from '../control/events/ring.js';
import { ControlService } from '../control/service.js';
import { StatusService } from '../control/status.js';
import type { RemovedNodeRecord } from '../meta/model.js';
import { keepRemoved } from '../stargate/data-directory.js';
import { etcdOptions } from './config/etcd.js';
import { loadConfig } from './config/load.js';
import { metricsListening } from './config/metrics.js';
import { stargateConfig, tcpListening } from './config/stargate.js';
import { connectTls, startTls } from './tls.js';
import { hostName } from './host-name.js';
import { START_STEP_MS } from './limits.js';
import { createLogger, type LogFormat } from './logger.js';
import { managedNode } from './managed-node.js';
import { removePidFile, writePidFile } from './pid-file.js';
import { endNow, engineChoice, orStop, startShards, startThreads, stopOnSignal } from './process.js';
import { reloadOnSignal } from './reload.js';
import { ServiceManager } from './service/manager.js';
import { Watchdog } from './service/watchdog.js';
import { clearSocketPath, CONTROL_SOCKET } from './sockets.js';
import { metaSocketOf, StargateHost } from './stargate-host.js';
import { SOFTWARE, VERSION } from './version.js';
import { Watch } from './watch.js';

const LAST_ANSWER_MS = 1_000;

/** `gatepath stargate --config FILE`: the storage service of one node, until a signal ends it. */
export async function runStargate(configPath: string, logFormat?: LogFormat): Promise<void> {
  const config = loadConfig(configPath, stargateConfig);
  const log = await createLogger(config.logLevel, logFormat);
  const manager = ServiceManager.take(log);
  const events = new EventRing({ source: config.node, log });
  const controlSocket = join(config.data, CONTROL_SOCKET);
  const engine = engineChoice(config.engine);
  const threads = startThreads(config.shards);
  const tcp = tcpListening(config);
  const tls = startTls(config.tls, config.node, log);
  await clearSocketPath(config.socket);
  await clearSocketPath(metaSocketOf(config.socket));
  let tellRemoved: (removed: RemovedNodeRecord) => void = () => undefined;
  const removal = new Promise<RemovedNodeRecord>(resolve => (tellRemoved = resolve));
  const host = await StargateHost.open({
    dataDirectory: config.data,
    nodeId: config.node,
    shards: config.shards,
    cacheBytes: config.cache,
    oplogBytes: config.oplog,
    scrubBytesPerSecond: config.scrub,
    keepSurplusMs: config.keepSurplusMs,
    stargateSocket: config.socket,
    tcp,
    etcd: config.etcd === undefined ? null : etcdOptions(config.etcd),
    clusterId: config.cluster ?? null,
    faultDomain: config.faultDomain ?? null,
    ...(config.replicationFactor === undefined ? {} : { replicationFactor: config.replicationFactor }),
    log,
    events,
    onProgress: line => {
      log.log('info', line);
      manager.starting(line, START_STEP_MS);
    },
    onFatal: message => endNow(log, message),
    onRemoved: removed => tellRemoved(removed),
  });
  await clearSocketPath(controlSocket);
  const pool = await startShards({
    threads,
    cacheBytes: config.cache,
    log,
    events,
    parts: 2,
    settings: () => {
      const { settings, transfer } = host.shardSettings();
      return { settings: { engine, tls: tls !== null, stargate: settings, datapath: null }, transfer: [transfer] };
    },
    prepare: started => {
      tls?.attach(started);
      host.listen(started);
    },
  });
  const connectTcp = tls === null ? connect : connectTls(tls.options.credentials);
  const storage = { store: host.store, node: managedNode(host, events, tcp === null ? null : connectTcp) };
  const service = new ControlService({ ...storage, defaultHost: hostName() });
  const watch = new Watch(pool, { storage, datapath: null }, log);
  const control = new ControlServer({
    status: new StatusService({ version: VERSION, storage, datapath: null }),
    service,
    events,
    watch,
    log,
  });
  const watchdog = new Watchdog(pool, manager, log);
  const stop = async (): Promise<void> => {
    manager.stopping();
    watchdog.stop();
    removePidFile(config.data);
    await control.close();
    await watch.close();
    await host.leave();
    tls?.refuse();
    await pool.stop();
    await tls?.stop();
    for (const path of [config.socket, controlSocket]) rmSync(path, { force: true });
    await host.close();
  };
  const stopNow = stopOnSignal(log, stop);
  await orStop(stop, async () => {
    if (tcp !== null) await tls?.listen(tcp.host, tcp.port);
    await host.serve(question => service.answer(question));
    await control.listen(controlSocket);
    await watch.listen(metricsListening(config));
    writePidFile(config.data);
  });
  void removal.then(({ at }) => {
    log.log('error', 'this node has been removed from its cluster: it ends, and its data directory is of no use to it any more', { at });
    keepRemoved(config.data, at);
    // Whoever has asked for that has perhaps asked here.
    setTimeout(stopNow, LAST_ANSWER_MS);
  });
  const status = `serving ${config.node} at ${config.socket}`;
  reloadOnSignal(
    config,
    {
      load: () => loadConfig(configPath, stargateConfig),
      take: {
        logLevel: next => log.setLevel(next.logLevel),
        metrics: next => watch.listen(metricsListening(next)),
        scrub: next => host.setScrub(next.scrub),
      },
      manager,
      status,
    },
    log,
  );
  manager.ready(status);
  watchdog.start();
  log.log('info', 'serving', { software: SOFTWARE, node: config.node, socket: config.socket, control: controlSocket });
}
