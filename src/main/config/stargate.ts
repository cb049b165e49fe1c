import * as z from 'zod';
import {
  DEFAULT_CACHE_BYTES,
  DEFAULT_KEEP_SURPLUS_MS,
  DEFAULT_OPLOG_BYTES,
  DEFAULT_SCRUB_BYTES_PER_SECOND,
  DEFAULT_SHARDS,
  LEAST_CACHE_BYTES,
  LEAST_OPLOG_BYTES,
  LEAST_SCRUB_BYTES_PER_SECOND,
} from '../limits.js';
import { replicationFactor, uuid } from '../../meta/model.js';
import { etcdConfig } from './etcd.js';
import { engine, formatTcp, hostPort, isAnyAddress, isLoopback, logLevel, milliseconds, name, path, shards, size } from './fields.js';
import { metricsAddress, metricsProblem } from './metrics.js';
import type { TcpListening } from '../shard-worker.js';
import { tlsConfig } from './tls.js';

export const stargateConfig = z
  .strictObject({
    data: path,
    socket: path,
    listen: hostPort.optional(),
    advertise: hostPort.optional(),
    insecure: z.boolean('it has to be true or false').default(false),
    tls: tlsConfig.optional(),
    node: name.default('node-1'),
    shards: shards.default(DEFAULT_SHARDS),
    cache: size(LEAST_CACHE_BYTES, '16M').default(DEFAULT_CACHE_BYTES),
    oplog: size(LEAST_OPLOG_BYTES, '512M').default(DEFAULT_OPLOG_BYTES),
    scrub: size(LEAST_SCRUB_BYTES_PER_SECOND, '64K, or off,', 'off').default(DEFAULT_SCRUB_BYTES_PER_SECOND),
    keepSurplusMs: milliseconds(0).default(DEFAULT_KEEP_SURPLUS_MS),
    etcd: etcdConfig.optional(),
    cluster: uuid.optional(),
    faultDomain: name.optional(),
    replicationFactor: replicationFactor.optional(),
    metrics: metricsAddress.optional(),
    engine: engine.default('auto'),
    logLevel: logLevel.default('info'),
  })
  .check(({ value, issues }) => {
    const { listen, advertise, insecure, tls } = value;
    const issue = (key: string, message: string): void => void issues.push({ code: 'custom', input: value, path: [key], message });
    if (insecure && tls !== undefined) issue('insecure', 'with "tls" everything over TCP is secure: leave one of the two out');
    const problem = metricsProblem(value, insecure);
    if (problem !== null) issue('metrics', problem);
    if (listen === undefined) {
      if (advertise !== undefined) issue('advertise', 'it needs "listen" beside it');
      return;
    }
    if (!isLoopback(listen.host) && !insecure && tls === undefined) {
      issue(
        'listen',
        'whoever reaches this address could read and write all disks: give the node its certificate in "tls", or say "insecure: true" where the network is trusted; 127.0.0.1 and ::1 need neither',
      );
    }
    if (isAnyAddress(listen.host) && advertise === undefined)
      issue('listen', 'others cannot connect to it: name in "advertise" the address at which they reach this node');
  });
export type StargateConfig = z.infer<typeof stargateConfig>;

export function tcpListening({
  listen,
  advertise = listen,
  tls,
}: Pick<StargateConfig, 'listen' | 'advertise' | 'tls'>): TcpListening | null {
  return listen === undefined || advertise === undefined ? null : { ...listen, advertised: formatTcp(advertise), tls: tls !== undefined };
}

export const STARGATE_EXAMPLE = `# gatepath stargate --config FILE

# Directory of the node's data: log, extents, block store, metadata. Made at the first start; one process at a time.
data: /var/lib/gatepath
# Where datapaths of this machine connect. Beside it, with ".meta" behind its name, they read the metadata.
socket: /run/gatepath/stargate.sock
# Where Stargates and datapaths of other machines connect: ADDRESS:PORT.
# listen: 127.0.0.1:9440
# What they are told, if it is another address.
# advertise: 10.0.0.1:9440
# For all that goes over TCP, to and from here: who connects has to show a certificate of the same authority, and so do we. "gatepath cluster init"
# makes the authority, "gatepath cluster join" the certificate of each node; the name in it has to be that of this node.
# tls:
#   ca: /etc/gatepath/ca.crt
#   cert: /etc/gatepath/node-1.crt
#   key: /etc/gatepath/node-1.key
# Instead, where the network is trusted: nothing is encrypted, and nobody has to prove who they are.
# insecure: true
# Name of this node in the cluster.
node: node-1
# Threads that serve I/O; at least 2.
shards: 2
# Memory for cached blocks, over all shards.
cache: 512M
# Most space that the log takes before it is drained into extents, over all streams.
oplog: 2G
# All data in the extents is read at this rate, bytes a second, and checked; what is damaged is repaired from another copy. "off": never.
scrub: 4M
# When others hold a vdisk as often as it is to be kept, the copy that a node has of it from before is removed after this time, in ms.
keepSurplusMs: 600000
# Where the metadata of the node's cluster is. Without it this node is one by itself, and has its metadata in "data".
# etcd:
#   endpoints: [https://10.0.0.1:2379, https://10.0.0.2:2379, https://10.0.0.3:2379]
#   ca: /etc/gatepath/ca.crt
#   cert: /etc/gatepath/node.crt
#   key: /etc/gatepath/node.key
#   # Where etcd asks for them:
#   user: gatepath
#   passwordFile: /etc/gatepath/etcd.password
#   # Before all keys.
#   namespace: gatepath/
# The cluster that is expected there: "gatepath cluster init" printed its id.
# cluster: 4f0c8a4e-6d1f-4c59-9a53-0e1a1c1d2b3a
# Copies of a vdisk in the container "default", which the cluster's first node makes: 1, 2 or 3.
# replicationFactor: 3
# Nodes with the same name here fail together, like those of a rack: copies of a vdisk are kept apart.
# faultDomain: rack-1
# Where Prometheus asks for /metrics: a port of the loopback interface, or ADDRESS:PORT; at an address that other machines reach, over TLS with "tls". Default: nowhere.
# metrics: 9441
# io_uring, libuv, or auto: io_uring where the kernel allows it.
engine: auto
# debug, info, warn or error.
logLevel: info
`;
