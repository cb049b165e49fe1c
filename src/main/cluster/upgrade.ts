import { renameSync } from 'node:fs';
import { GatepathError } from '../../base/errors.js';
import { LmdbStore } from '../../meta/lmdb.js';
import { countAll, endTransfer, transferAll, type Transferred } from '../../meta/transfer.js';
import { keepClusterId, openDataDirectory, type DataDirectory } from '../../stargate/data-directory.js';
import { etcdOptions } from '../config/etcd.js';
import { loadConfig } from '../config/load.js';
import { stargateConfig, type StargateConfig } from '../config/stargate.js';
import { NEW_STREAMS } from '../limits.js';
import { hasOwnMetadata, openCluster, ownMetadataFolder } from '../metadata-store.js';

export interface Upgraded extends Transferred {
  readonly clusterId: string;
  /** Where the metadata that was moved is kept. */
  readonly kept: string;
}

/**
 * `gatepath cluster upgrade-from-single`: the metadata of a single node goes into etcd; its data stays where it is. In the order in which a crash
 * leaves one of the two whole, and a second run finishes:
 * 1. copied into etcd, marked there as begun: until here the directory is a single node's;
 * 2. the directory is the cluster's;
 * 3. the old metadata is out of the way, and the mark is gone.
 */
export async function upgradeFromSingle(configPath: string, onProgress: (line: string) => void): Promise<Upgraded> {
  const config = loadConfig(configPath, stargateConfig);
  if (config.etcd === undefined) {
    const message = `${configPath} names no "etcd", which is where the metadata is to go`;
    throw invalid('ERR_CONFIG', message, 'add it: "gatepath config example stargate" shows how');
  }
  const directory = openDataDirectory(config.data, NEW_STREAMS);
  try {
    return await upgrade(config, directory, onProgress);
  } finally {
    directory.lock.release();
  }
}

async function upgrade(config: StargateConfig, directory: DataDirectory, onProgress: (line: string) => void): Promise<Upgraded> {
  if (!hasOwnMetadata(config.data)) {
    throw directory.clusterId === null
      ? invalid('ERR_NOT_SINGLE', `${config.data} has no metadata of a single node in it`, 'start it as it is: it joins the cluster')
      : invalid('ERR_NOT_SINGLE', `${config.data} is of the cluster ${directory.clusterId} already`, 'nothing to do');
  }
  const { storeUuid } = directory;
  const etcd = etcdOptions(config.etcd!);
  const { store: to, clusterId } = await openCluster({ directory, etcd, clusterId: config.cluster ?? null, onProgress });
  try {
    const from = LmdbStore.open(ownMetadataFolder(config.data));
    // The directory is the cluster's already where a run before this one came so far: what is in etcd is newer then.
    const moving = directory.clusterId === null ? transferAll({ from, to, nodeId: config.node, storeUuid }) : countAll(from);
    const moved = await moving.finally(() => from.close());
    if (directory.clusterId === null) keepClusterId(config.data, clusterId);
    const kept = `${ownMetadataFolder(config.data)}.single-node`;
    renameSync(ownMetadataFolder(config.data), kept);
    await endTransfer(to, storeUuid);
    return { ...moved, clusterId, kept };
  } finally {
    await to.close();
  }
}

const invalid = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
