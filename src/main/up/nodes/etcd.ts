import { join } from 'node:path';
import { GatepathError } from '../../../base/errors.js';
import { findProgram } from '../../programs.js';
import type { ClusterLayout, ClusterPaths } from './layout.js';

/** Members on one machine: what they wait for is only ever each other's disk. */
const HEARTBEAT_MS = 50;
const ELECTION_MS = 400;
/** Nodes say each second that they live: the history of that is of no use. */
const COMPACT_AFTER = '10m';

export function etcdProgram(): string {
  const found = findProgram('etcd');
  if (found !== undefined) return found;
  throw new GatepathError(
    'invalid',
    'ERR_NO_ETCD',
    'a cluster keeps its metadata in etcd, and there is no program "etcd" on this machine',
    'install it (on Debian and Ubuntu: apt install etcd-server), or leave --nodes out: one node needs no etcd',
  );
}

export const etcdUrl = (layout: ClusterLayout, i: number): string => `http://127.0.0.1:${layout.etcd[i]!.clientPort}`;

export function etcdArguments(program: string, layout: ClusterLayout, paths: ClusterPaths, i: number): string[] {
  const name = (member: number): string => `etcd-${member + 1}`;
  const peer = (member: number): string => `http://127.0.0.1:${layout.etcd[member]!.peerPort}`;
  const client = etcdUrl(layout, i);
  return [
    program,
    ...['--name', name(i), '--data-dir', paths.etcd(i), '--logger', 'zap', '--log-level', 'error'],
    ...['--listen-client-urls', client, '--advertise-client-urls', client],
    ...['--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i)],
    ...['--initial-cluster', layout.etcd.map((_, member) => `${name(member)}=${peer(member)}`).join(',')],
    ...['--initial-cluster-token', layout.clusterId, '--initial-cluster-state', 'new'],
    ...['--heartbeat-interval', String(HEARTBEAT_MS), '--election-timeout', String(ELECTION_MS)],
    ...['--auto-compaction-mode', 'periodic', '--auto-compaction-retention', COMPACT_AFTER],
  ];
}

export const etcdLog = (paths: ClusterPaths, i: number): string => join(paths.logs(), `etcd-${i + 1}.log`);
