import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { clusterIdIn, createAuthority, issue, type CertificateWish } from '../../cluster/authority.js';
import type { ClusterLayout, ClusterPaths } from './layout.js';

/**
 * How the processes of a cluster on one machine reach each other: by Unix sockets; over loopback's TCP with mutual TLS, as on several machines; or so in
 * network namespaces of their own, where each has an address.
 */
export const NETWORKS = ['unix', 'tcp', 'namespaces'] as const;
export type Network = (typeof NETWORKS)[number];

const LOOPBACK = '127.0.0.1';
/** In the namespaces there is nobody else. */
const PREFIX = '10.0.0.';
const FIRST_NODE = 1;
const DATAPATH = 200;

export const nodeHost = (network: Network, i: number): string => (network === 'namespaces' ? `${PREFIX}${FIRST_NODE + i}` : LOOPBACK);
export const datapathHost = (network: Network): string => (network === 'namespaces' ? `${PREFIX}${DATAPATH}` : LOOPBACK);

export const DATAPATH_NAME = 'datapath';

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Of a node and its member of etcd, or of the datapath; null: nothing goes over TCP. */
export function tlsFilesOf(layout: ClusterLayout, paths: ClusterPaths, name: string): TlsFiles | null {
  if (layout.network === 'unix') return null;
  const file = (base: string): string => join(paths.authority(), base);
  return { ca: file('ca.crt'), cert: file(`${name}.crt`), key: file(`${name}.key`) };
}

/** The authority of a new cluster, or the one that a start which was broken off has made. Gives the cluster's id. */
export function openAuthority(paths: ClusterPaths): string {
  const directory = paths.authority();
  return existsSync(join(directory, 'cluster.json')) ? clusterIdIn(directory) : createAuthority(directory);
}

/** Those that are missing. */
export function issueCertificates(layout: ClusterLayout, paths: ClusterPaths): void {
  if (layout.network === 'unix') return;
  const nodes = layout.nodes.map(({ id }, i): CertificateWish => ({ role: 'node', name: id, hosts: [nodeHost(layout.network, i)] }));
  for (const wish of [...nodes, { role: 'datapath', name: DATAPATH_NAME, hosts: [] } as const]) {
    if (!existsSync(tlsFilesOf(layout, paths, wish.name)!.cert)) issue(paths.authority(), wish);
  }
}
