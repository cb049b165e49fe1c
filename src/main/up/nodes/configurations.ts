import { mkdirSync } from 'node:fs';
import { stringify } from 'yaml';
import { isRemovedDirectory } from '../../../stargate/data-directory.js';
import { writeFileDurably } from '../../write-file.js';
import { etcdUrl } from './etcd.js';
import type { ClusterLayout, ClusterPaths } from './layout.js';
import { DATAPATH_NAME, nodeHost, tlsFilesOf } from './network.js';

export interface ClusterSettings {
  readonly shards: number;
  readonly cacheBytes: number;
  readonly oplogBytes: number;
  readonly scrubBytesPerSecond: number;
  readonly engine: string;
  readonly logLevel: string;
  readonly replicationFactor: number;
  readonly host: string;
}

const HEADER = '# Written by "gatepath up --nodes" at each start.\n';

/** One file for each process: with it, and without `up`, the process is started again by hand. */
export function writeConfigurations(layout: ClusterLayout, paths: ClusterPaths, settings: ClusterSettings): void {
  const { shards, cacheBytes, oplogBytes, scrubBytesPerSecond, engine, logLevel, replicationFactor, host } = settings;
  const endpoints = layout.etcd.map((_, i) => etcdUrl(layout, i));
  const listening = layout.nodes.map(({ tcpPort }, i) => `${nodeHost(layout.network, i)}:${tcpPort}`);
  const threads = { shards, engine, logLevel };
  for (const [i, { id }] of layout.nodes.entries()) {
    const tls = tlsFilesOf(layout, paths, id);
    mkdirSync(paths.node(id), { recursive: true, mode: 0o700 });
    const config = {
      data: paths.node(id),
      socket: paths.nodeSocket(id),
      node: id,
      cache: cacheBytes,
      oplog: oplogBytes,
      scrub: scrubBytesPerSecond === 0 ? 'off' : scrubBytesPerSecond,
      ...threads,
      cluster: layout.clusterId,
      replicationFactor,
      etcd: { endpoints, ...tls },
      ...(tls === null ? {} : { listen: listening[i], tls }),
    };
    writeFileDurably(paths.nodeConfig(id), HEADER + stringify(config));
  }
  mkdirSync(paths.datapath(), { recursive: true, mode: 0o700 });
  const there = layout.nodes.flatMap(({ id }, i) => (isRemovedDirectory(paths.node(id)) ? [] : [{ id, listening: listening[i]! }]));
  const [local, ...others] = there;
  const tls = tlsFilesOf(layout, paths, DATAPATH_NAME);
  const config = {
    socket: paths.nbdSocket(),
    stargate: paths.nodeSocket(local!.id),
    stargates: others.map(one => (tls === null ? paths.nodeSocket(one.id) : one.listening)),
    ...(tls === null ? {} : { tls }),
    node: local!.id,
    control: paths.datapathControl(),
    host,
    ...threads,
  };
  writeFileDurably(paths.datapathConfig(), HEADER + stringify(config));
}
