import { mkdirSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { lockDirectory } from 'uring-engine';
import { GatepathError } from '../../../base/errors.js';
import type { ControlClient } from '../../../control/client.js';
import type { AttachmentView } from '../../../control/schemas.js';
import { hostName } from '../../host-name.js';
import { createLogger } from '../../logger.js';
import { orStop, stopOnSignal } from '../../process.js';
import { removeClusterFile, writeClusterFile } from '../cluster-file.js';
import { printGreeting } from '../greeting.js';
import type { UpOptions } from '../up.js';
import { LocalCluster } from './cluster.js';
import { writeConfigurations } from './configurations.js';
import { etcdProgram } from './etcd.js';
import { ClusterPaths, openLayout } from './layout.js';
import { Namespaces } from './namespaces.js';
import { issueCertificates, type Network } from './network.js';

export interface UpNodesOptions extends UpOptions {
  readonly nodes: number;
  /** Of vdisks in the container "default"; null: as many copies as there are nodes, three at most. */
  readonly replicationFactor: number | null;
  readonly restart: boolean;
  /** null: as the cluster that is there, or Unix sockets. */
  readonly network: Network | null;
}

/** Three times as long as the slowest of its processes takes before it ends itself. */
const STOP_TIMEOUT_MS = 30_000;

/** `gatepath up --nodes N`: a cluster of processes on this machine, supervised until a signal ends it. None of its data passes through this process. */
export async function runUpNodes(options: UpNodesOptions): Promise<void> {
  const data = resolve(options.data);
  const log = await createLogger(options.logLevel, options.logFormat);
  const etcd = etcdProgram();
  try {
    mkdirSync(data, { recursive: true, mode: 0o700 });
  } catch (error) {
    const action = 'name a directory that you may write to with --data';
    throw new GatepathError('invalid', 'ERR_DATA_DIRECTORY', `${data} cannot be made: ${(error as Error).message}`, action);
  }
  const lock = lockDirectory(data);
  if ('heldBy' in lock) {
    const action = 'stop that process first, or name another directory with --data';
    throw new GatepathError('invalid', 'ERR_LOCKED', `${data} is in use by ${lock.heldBy}`, action);
  }
  // Of a run that was killed: whoever waits for the file waits for this run.
  removeClusterFile(data);
  const wanted = options.network === 'namespaces' ? new Namespaces(data) : null;
  const layout = await openLayout(data, options);
  const namespaces = wanted ?? (layout.network === 'namespaces' ? new Namespaces(data) : null);
  const paths = new ClusterPaths(data);
  issueCertificates(layout, paths);
  const { shards, cacheBytes, oplogBytes, scrubBytesPerSecond, engine, logLevel, restart } = options;
  const replicationFactor = options.replicationFactor ?? Math.min(layout.nodes.length, 3);
  const settings = { shards, cacheBytes, oplogBytes, scrubBytesPerSecond, engine, logLevel, replicationFactor, host: hostName() };
  writeConfigurations(layout, paths, settings);
  const describe = (): void => writeClusterFile(data, { version: 1, ...cluster.describe(), console: null });
  const cluster = new LocalCluster({
    layout,
    paths,
    etcd,
    namespaces,
    restart,
    command: process.argv.slice(0, 2),
    say: line => console.error(line),
    onChange: describe,
  });
  const stop = async (): Promise<void> => {
    removeClusterFile(data);
    await cluster.stop();
    rmSync(paths.nbdSocket(), { force: true });
    lock.release();
  };
  stopOnSignal(log, stop, STOP_TIMEOUT_MS);
  const attached = await orStop(stop, async () => {
    await cluster.start();
    const client = await cluster.client();
    await noteFactor(client, options.replicationFactor);
    return attachAll(client, options.vdisks);
  });
  printGreeting(data, attached);
  console.log(
    `Nodes: ${cluster
      .describe()
      .nodes.map(({ id }) => id)
      .join(', ')}; their logs: ${paths.logs()}`,
  );
  // Last: whoever waits for the file finds everything there, what is printed too.
  describe();
}

/** Creates those that are missing, and attaches all to this host. One that is there keeps its size. */
async function attachAll(client: ControlClient, vdisks: UpOptions['vdisks']): Promise<AttachmentView[]> {
  const attached: AttachmentView[] = [];
  for (const vdisk of vdisks) {
    await client.createVdisk(vdisk).catch((error: unknown) => {
      if (!(error instanceof GatepathError && error.code === 'ERR_EXISTS')) throw error;
    });
    attached.push(await client.attach(vdisk.name, { host: hostName() }));
  }
  return attached;
}

/** The container was made with the cluster: a factor that is given later says nothing. */
async function noteFactor(client: ControlClient, wanted: number | null): Promise<void> {
  const found = (await client.listContainers()).find(({ name }) => name === 'default');
  if (wanted === null || found === undefined || found.replicationFactor === wanted) return;
  console.error(
    `note: the container "default" keeps its vdisks on ${found.replicationFactor} nodes since it was made; for another number make another container: gatepath container create NAME --rf ${wanted}`,
  );
}
