import { get } from 'node:http';
import { join } from 'node:path';
import { GatepathError } from '../../../base/errors.js';
import { findProgram } from '../../../cli/programs.js';
import type { ClusterLayout, ClusterPaths } from './layout.js';
import { nodeHost, tlsFilesOf } from './network.js';

/** Members on one machine: what they wait for is only ever each other's disk. */
const HEARTBEAT_MS = 50;
const ELECTION_MS = 400;
/** Nodes say each second that they live: the history of that is of no use. */
const COMPACT_AFTER = '10m';
const HEALTH_TIMEOUT_MS = 1_000;

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

const url = ({ network }: ClusterLayout, i: number, port: number): string =>
  `${network === 'unix' ? 'http' : 'https'}://${nodeHost(network, i)}:${port}`;

export const etcdUrl = (layout: ClusterLayout, i: number): string => url(layout, i, layout.etcd[i]!.clientPort);

/** In its working directory. etcd wants what looks like a port in each of its addresses, and makes the whole a file's name. */
const socketName = (i: number): string => `etcd-${i + 1}:0`;

/** Where a member answers without a certificate, and from any network namespace: who may open the directory may do anything anyway. */
export const etcdSocket = (paths: ClusterPaths, i: number): string => join(paths.run(), socketName(i));

/** etcd does not take the place of a socket that one which was killed has left. */
const START = 'cd "$1" && rm -f "$2" && shift 2 && exec "$@"';

/** Starts it anywhere, whatever became of the one before. */
export function etcdCommand(program: string, layout: ClusterLayout, paths: ClusterPaths, i: number): string[] {
  return ['/bin/sh', '-c', START, 'sh', paths.run(), socketName(i), ...etcdArguments(program, layout, paths, i)];
}

function etcdArguments(program: string, layout: ClusterLayout, paths: ClusterPaths, i: number): string[] {
  const name = (member: number): string => `etcd-${member + 1}`;
  const peer = (member: number): string => url(layout, member, layout.etcd[member]!.peerPort);
  const client = etcdUrl(layout, i);
  return [
    program,
    ...['--name', name(i), '--data-dir', paths.etcd(i), '--logger', 'zap', '--log-level', 'error'],
    ...['--listen-client-urls', `${client},unix://${socketName(i)}`, '--advertise-client-urls', client],
    ...['--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i)],
    ...['--initial-cluster', layout.etcd.map((_, member) => `${name(member)}=${peer(member)}`).join(',')],
    ...['--initial-cluster-token', layout.clusterId, '--initial-cluster-state', 'new'],
    ...['--heartbeat-interval', String(HEARTBEAT_MS), '--election-timeout', String(ELECTION_MS)],
    ...['--auto-compaction-mode', 'periodic', '--auto-compaction-retention', COMPACT_AFTER],
    ...tlsArguments(layout, paths, i),
  ];
}

/** A member shows the certificate of its node, to clients and to the other members, and asks for one. */
function tlsArguments(layout: ClusterLayout, paths: ClusterPaths, i: number): string[] {
  const files = tlsFilesOf(layout, paths, layout.nodes[i]!.id);
  if (files === null) return [];
  return ['', 'peer-'].flatMap(side => [
    ...[`--${side}cert-file`, files.cert, `--${side}key-file`, files.key],
    ...[`--${side}trusted-ca-file`, files.ca, `--${side}client-cert-auth`],
  ]);
}

/** The member answers, and the cluster has a leader. */
export function isEtcdHealthy(socketPath: string): Promise<boolean> {
  return new Promise(resolve => {
    const request = get({ socketPath, path: '/health', timeout: HEALTH_TIMEOUT_MS }, response => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy()).on('error', () => resolve(false));
  });
}
