import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ControlServer } from '../../control/api/server.js';
import { EventRing } from '../../control/events/ring.js';
import type { AttachmentView } from '../../control/schemas.js';
import { ControlService } from '../../control/service.js';
import { StatusService } from '../../control/status.js';
import { GatepathError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import type { EngineChoice } from '../../shard/run.js';
import type { ShardPool } from '../../shard/pool.js';
import type { MetricsAddress } from '../config/metrics.js';
import { DatapathHost } from '../datapath-host.js';
import { hostName } from '../host-name.js';
import { createLogger, type LogFormat } from '../logger.js';
import { managedNode } from '../managed-node.js';
import { endNow, engineChoice, orStop, startShards, startThreads, stopOnSignal } from '../process.js';
import { clearSocketPath, CONTROL_SOCKET } from '../sockets.js';
import { metaSocketOf, StargateHost } from '../stargate-host.js';
import { VERSION } from '../version.js';
import { Watch } from '../watch.js';
import { removeClusterFile, writeClusterFile } from './cluster-file.js';
import { printGreeting } from './greeting.js';
import { nodesIn } from './nodes/layout.js';

export interface UpOptions {
  readonly data: string;
  readonly vdisks: readonly { readonly name: string; readonly sizeBytes: number }[];
  readonly shards: number;
  readonly cacheBytes: number;
  readonly oplogBytes: number;
  /** 0: nothing is scrubbed. */
  readonly scrubBytesPerSecond: number;
  readonly engine: EngineChoice;
  /** Where Prometheus asks; null: nowhere. */
  readonly metrics: MetricsAddress | null;
  readonly logLevel: string;
  readonly logFormat: LogFormat | undefined;
}

const NODE_ID = 'node-1';

/** `gatepath up`: everything on one machine in this process, until a signal ends it. */
export async function runUp(options: UpOptions): Promise<void> {
  const data = resolve(options.data);
  const nodes = nodesIn(data);
  if (nodes !== null) {
    throw new GatepathError('invalid', 'ERR_CLUSTER', `${data} holds a cluster of ${nodes} nodes`, `start it with --nodes ${nodes}`);
  }
  const log = await createLogger(options.logLevel, options.logFormat);
  const events = new EventRing({ source: NODE_ID, log });
  const engine = engineChoice(options.engine);
  const nbdSocket = join(data, 'nbd.sock');
  const stargateSocket = join(data, 'stargate.sock');
  const controlSocket = join(data, CONTROL_SOCKET);
  const { shards, cacheBytes, oplogBytes, scrubBytesPerSecond } = options;
  const threads = startThreads(shards);
  const host = await StargateHost.open({
    dataDirectory: data,
    nodeId: NODE_ID,
    shards,
    cacheBytes,
    oplogBytes,
    scrubBytesPerSecond,
    stargateSocket,
    log,
    events,
    onProgress: line => console.error(line),
    onFatal: message => endNow(log, message),
  });
  const sockets = [nbdSocket, stargateSocket, metaSocketOf(stargateSocket), controlSocket];
  for (const path of sockets) await clearSocketPath(path);
  const datapathUuid = randomUUID();
  const pool = await startShards({
    threads,
    cacheBytes,
    log,
    events,
    parts: 3,
    settings: () => {
      const { settings, transfer } = host.shardSettings();
      const datapath = { datapathUuid, nbdSocket, targets: [{ kind: 'in-process' }] } as const;
      return { settings: { engine, stargate: settings, datapath }, transfer: [transfer] };
    },
    prepare: started => host.listen(started),
  });
  const storage = { store: host.store, node: managedNode(host, events, null) };
  const service = new ControlService({ ...storage, defaultHost: hostName() });
  const datapath = new DatapathHost({
    store: host.store,
    host: hostName(),
    datapathUuid,
    nbdSocket,
    pool,
    log,
    local: { kind: 'in-process' },
    localNode: NODE_ID,
  });
  const watch = new Watch(pool, { storage, datapath }, log);
  const control = new ControlServer({ status: new StatusService({ version: VERSION, storage, datapath }), service, events, watch, log });
  const stop = (): Promise<void> => stopAll({ data, sockets, control, watch, datapath, pool, host });
  stopOnSignal(log, stop);
  const attached = await orStop(stop, async () => {
    await host.serve();
    const all = await attachAll(service, options.vdisks, log);
    await control.listen(controlSocket);
    if (options.metrics !== null) await watch.listen({ ...options.metrics, tls: null });
    return all;
  });
  // Last: whoever waits for the file finds everything there, what is printed too.
  printGreeting(data, attached);
  const self = { pid: process.pid, command: process.argv, network: null };
  writeClusterFile(data, {
    version: 1,
    nodes: [{ id: NODE_ID, dataDir: data, address: `unix:${controlSocket}`, ...self }],
    etcd: [],
    datapath: { node: NODE_ID, nbdSocket, ...self },
    console: null,
  });
}

interface Running {
  readonly data: string;
  readonly sockets: readonly string[];
  readonly control: ControlServer;
  readonly watch: Watch;
  readonly datapath: DatapathHost;
  readonly pool: ShardPool;
  readonly host: StargateHost;
}

async function stopAll({ data, sockets, control, watch, datapath, pool, host }: Running): Promise<void> {
  removeClusterFile(data);
  await control.close();
  await watch.close();
  datapath.close();
  await pool.stop();
  for (const path of sockets) rmSync(path, { force: true });
  await host.close();
}

/** Creates those that are missing, and attaches all to this host. One that is there keeps its size; one of which a record of the metadata is damaged stays as it is. */
async function attachAll(service: ControlService, vdisks: UpOptions['vdisks'], log: Logger): Promise<AttachmentView[]> {
  const attached: AttachmentView[] = [];
  for (const vdisk of vdisks) {
    try {
      await service.createVdisk(vdisk).catch(unless('ERR_EXISTS'));
      attached.push(await service.attach(vdisk.name, { host: hostName() }));
    } catch (error) {
      unless('ERR_METADATA')(error);
      log.log('error', 'a vdisk is not attached', { vdisk: vdisk.name, why: (error as Error).message });
    }
  }
  return attached;
}

/** Throws what has another code. */
const unless =
  (code: string) =>
  (error: unknown): void => {
    if (!(error instanceof GatepathError && error.code === code)) throw error;
  };
