import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GatepathError } from '../base/errors.js';
import { clusterOf } from '../meta/cluster.js';
import { MetaUnavailable } from '../meta/errors.js';
import type { EtcdOptions } from '../meta/etcd-options.js';
import { EtcdStore } from '../meta/etcd.js';
import { LmdbStore } from '../meta/lmdb.js';
import type { MetadataStore } from '../meta/store.js';
import { hasTransferBegun } from '../meta/transfer.js';
import { keepClusterId, type DataDirectory } from '../stargate/data-directory.js';

/** So long a start waits for etcd, which may be starting too. */
const ETCD_TIMEOUT_MS = 15_000;
const RETRY_MS = 200;

export interface OpenedStore {
  readonly store: MetadataStore;
  /** Other nodes use it too. */
  readonly isShared: boolean;
}

export interface OpenStoreOptions {
  readonly directory: DataDirectory;
  /** Null: one node, with its metadata in its own data directory. */
  readonly etcd: EtcdOptions | null;
  /** The cluster that is expected there. Null: whichever it is, and a new one where there is none. */
  readonly clusterId: string | null;
  readonly onProgress: (line: string) => void;
  readonly timeoutMs?: number;
}

/**
 * The metadata store of the node that the directory belongs to. Refused, with nothing changed: a directory of another cluster, or of a
 * cluster without etcd, or of a single node with it.
 */
export async function openMetadataStore(options: OpenStoreOptions): Promise<OpenedStore> {
  const { directory, etcd } = options;
  if (etcd === null) return { store: await openOwn(directory), isShared: false };
  if (directory.clusterId === null && hasOwnMetadata(directory.path)) {
    throw invalid(
      'ERR_SINGLE_NODE',
      `${directory.path} has the metadata of a single node in it, and the configuration has "etcd"`,
      'move it to etcd, with its data, by "gatepath cluster upgrade-from-single --config FILE"; or leave "etcd" out',
    );
  }
  const { store, clusterId } = await openCluster({ ...options, etcd });
  try {
    if (directory.clusterId === null) keepClusterId(directory.path, clusterId);
  } catch (error) {
    await store.close();
    throw error;
  }
  return { store, isShared: true };
}

/** The cluster's store, where it is that of the directory's cluster, if it is in one, and of the expected one. Changes nothing in the directory. */
export async function openCluster(
  options: OpenStoreOptions & { readonly etcd: EtcdOptions },
): Promise<{ readonly store: MetadataStore; readonly clusterId: string }> {
  const store = await EtcdStore.open(options.etcd);
  try {
    return { store, clusterId: await joinCluster(store, options, options.etcd) };
  } catch (error) {
    await store.close();
    throw error;
  }
}

export function ownMetadataFolder(dataDirectory: string): string {
  return join(dataDirectory, 'meta');
}

export function hasOwnMetadata(dataDirectory: string): boolean {
  return existsSync(join(ownMetadataFolder(dataDirectory), 'data.mdb'));
}

async function openOwn({ path, clusterId }: DataDirectory): Promise<MetadataStore> {
  if (clusterId !== null) {
    throw invalid(
      'ERR_CLUSTER_DIRECTORY',
      `${path} belongs to the cluster ${clusterId}, which has its metadata in etcd`,
      'name its "etcd" in the configuration, or another data directory',
    );
  }
  const store = LmdbStore.open(ownMetadataFolder(path));
  if (!(await hasTransferBegun(store))) return store;
  await store.close();
  const message = `the metadata of ${path} is on its way into a cluster: an upgrade has begun, and not ended`;
  throw invalid('ERR_UPGRADE_BEGUN', message, 'finish it: run "gatepath cluster upgrade-from-single" again');
}

async function joinCluster(store: MetadataStore, options: OpenStoreOptions, etcd: EtcdOptions): Promise<string> {
  const { directory, clusterId } = options;
  const expected = directory.clusterId ?? clusterId;
  if (directory.clusterId !== null && clusterId !== null && directory.clusterId !== clusterId) {
    throw otherCluster(directory, `the configuration is of cluster ${clusterId}`);
  }
  const id = await answered(options, etcd, () => clusterOf(store, { make: directory.clusterId === null, id: expected }));
  if (id === null) throw otherCluster(directory, `${placeOf(etcd)} has no cluster in it`);
  if (directory.clusterId !== null && id !== directory.clusterId)
    throw otherCluster(directory, `${placeOf(etcd)} is that of cluster ${id}`);
  if (clusterId !== null && id !== clusterId) {
    const message = `${placeOf(etcd)} is that of cluster ${id}; the configuration is of cluster ${clusterId}`;
    throw invalid('ERR_OTHER_CLUSTER', message, 'correct "etcd" or "cluster" in the configuration');
  }
  return id;
}

function otherCluster({ path, clusterId }: DataDirectory, found: string): GatepathError {
  const action = 'name the etcd and the namespace of its own cluster, or another data directory; nothing was changed';
  return invalid('ERR_OTHER_CLUSTER', `${path} is a data directory of the cluster ${clusterId}, and ${found}`, action);
}

async function answered<T>(
  { onProgress, timeoutMs = ETCD_TIMEOUT_MS }: OpenStoreOptions,
  etcd: EtcdOptions,
  ask: () => Promise<T>,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (let isTold = false; ; isTold = true) {
    try {
      return await ask();
    } catch (cause) {
      if (!(cause instanceof MetaUnavailable)) throw cause;
      if (performance.now() >= endMs) {
        const message = `${cause.message}: tried for ${Math.round(timeoutMs / 1_000)} s`;
        const action = 'see that etcd runs and is reached from here, by "etcdctl endpoint health", and start again: no data is lost';
        throw new GatepathError('retryable', 'ERR_ETCD_UNREACHABLE', message, action, { cause });
      }
      if (!isTold) onProgress(`waiting for ${placeOf(etcd)}`);
    }
    await delay(RETRY_MS);
  }
}

const placeOf = ({ endpoints }: EtcdOptions): string => `etcd at ${endpoints.join(', ')}`;
const invalid = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
