import { silentLogger } from '../../base/log.js';
import { datapathConfig } from './datapath.js';
import { etcdOptions } from './etcd.js';
import { loadConfig, topKeys } from './load.js';
import { nbdSettings } from './nbd.js';
import { stargateConfig } from './stargate.js';
import { tlsCredentials } from './tls.js';

export type ConfigKind = 'stargate' | 'datapath';

/** What a start would read of it, without starting: throws as that would. A file that names a Stargate's socket is a datapath's. */
export function checkConfig(path: string): ConfigKind {
  if (topKeys(path).includes('stargate')) {
    const { tls, nbd } = loadConfig(path, datapathConfig);
    if (tls !== undefined) tlsCredentials(tls, null, silentLogger);
    nbdSettings(nbd);
    return 'datapath';
  }
  const { tls, etcd, node } = loadConfig(path, stargateConfig);
  if (tls !== undefined) tlsCredentials(tls, node, silentLogger);
  if (etcd !== undefined) etcdOptions(etcd);
  return 'stargate';
}
