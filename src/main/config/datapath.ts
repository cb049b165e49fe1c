import { resolve } from 'node:path';
import * as z from 'zod';
import { DEFAULT_FAILBACK_MS } from '../../datapath/limits.js';
import { tcpTarget, unixTarget } from '../../datapath/paths.js';
import { DEFAULT_SHARDS } from '../limits.js';
import { engine, formatTcp, hostPort, logLevel, name, path, shards } from './fields.js';
import { metricsAddress, metricsProblem } from './metrics.js';
import { nbdConfig } from './nbd.js';
import { tlsConfig } from './tls.js';

const MAX_STARGATES = 64;
/** Shorter ones would be over before a takeover is. */
const LEAST_IO_TIMEOUT_MS = 5_000;
const ioTimeout = z.union([
  z.literal('never').transform(() => null),
  z
    .number('it has to be a number of ms, or never')
    .int('it has to be a whole number of ms')
    .min(LEAST_IO_TIMEOUT_MS, `it has to be at least ${LEAST_IO_TIMEOUT_MS}: a takeover takes its time`)
    .max(86_400_000, 'at most a day'),
]);
const failback = z.union([
  z.literal('never').transform(() => null),
  z
    .number('it has to be a number of ms, or never')
    .int('it has to be a whole number of ms')
    .min(0, 'it has to be 0 or more')
    .max(86_400_000, 'at most a day'),
]);

/** A socket's path, or ADDRESS:PORT. */
const stargateAddress = z.string('it has to be a path, or ADDRESS:PORT').transform(text => {
  const tcp = hostPort.safeParse(text);
  return tcp.success ? tcpTarget(formatTcp(tcp.data)) : unixTarget(resolve(text));
});

export const datapathConfig = z
  .strictObject({
    socket: path,
    stargate: path,
    stargates: z
      .array(stargateAddress, 'it has to be a list of paths and ADDRESS:PORT')
      .max(MAX_STARGATES, `at most ${MAX_STARGATES} are possible`)
      .default([]),
    tls: tlsConfig.optional(),
    nbd: nbdConfig.default({}),
    node: name.optional(),
    failbackAfterMs: failback.default(DEFAULT_FAILBACK_MS),
    ioTimeoutMs: ioTimeout.default(null),
    control: path.optional(),
    host: name.optional(),
    shards: shards.default(DEFAULT_SHARDS),
    metrics: metricsAddress.optional(),
    engine: engine.default('auto'),
    logLevel: logLevel.default('info'),
  })
  .check(({ value, issues }) => {
    const message = metricsProblem(value, false);
    if (message !== null) issues.push({ code: 'custom', input: value, path: ['metrics'], message });
  });
export type DatapathConfig = z.infer<typeof datapathConfig>;

export const DATAPATH_EXAMPLE = `# gatepath datapath --config FILE

# The NBD socket: guests find their disks here, each under the name of its vdisk.
socket: /run/gatepath/nbd.sock
# The socket of the Stargate that keeps the data ("socket" in its configuration).
stargate: /run/gatepath/stargate.sock
# Other Stargates of the cluster, to start from while that one is away. What the cluster says of its nodes is remembered for the next start.
# An ADDRESS:PORT is that of another machine ("listen" in the Stargate's configuration).
# stargates: [10.0.0.2:9440, /run/gatepath/node-3.sock]
# For all connections over TCP: "gatepath cluster join DIR --datapath NAME" makes the certificate.
# tls:
#   ca: /etc/gatepath/ca.crt
#   cert: /etc/gatepath/hypervisor-1.crt
#   key: /etc/gatepath/hypervisor-1.key
# What NBD clients may have. Each limit is that of one shard.
# nbd:
#   # Clients of other machines: NBD over TCP, in TLS alone (the Unix socket has its permissions). 10809 is NBD's own port.
#   listen: 10.0.0.1:10809
#   tls:
#     # Shown to clients.
#     cert: /etc/gatepath/nbd.crt
#     key: /etc/gatepath/nbd.key
#     # Whose certificate a client must have; or pre-shared keys, one "identity:hex" a line, as psktool writes them.
#     clientCa: /etc/gatepath/clients.crt
#     # psk: /etc/gatepath/nbd.psk
#   # From connecting to the choice of a disk.
#   handshakeTimeoutMs: 10000
#   # A connection on which nothing moves for so long, and that does not wait for its disk, is ended; or never.
#   idleTimeoutMs: never
#   # More wait until one goes.
#   maxConnections: 128
#   # Data of reads that is on its way to clients: slow ones cannot hold more.
#   maxReadBytes: 64M
# Id of the node of this machine. Default: the node with that socket.
# node: node-1
# A disk that another node serves is asked back when the Stargate of this machine has been well for so many ms; or never.
failbackAfterMs: 10000
# A request that has waited for so many ms gets EIO; or never, and a guest waits as long as it takes: Linux remounts read-only after one EIO.
ioTimeoutMs: never
# Where "gatepath status" asks; with "control.sock" beside the NBD socket, its --data is that directory.
# control: /run/gatepath/control.sock
# Name of this host, for "gatepath attach --host". Default: the machine's host name.
# host: hypervisor-1
# Threads that serve I/O; at least 2.
shards: 2
# Where Prometheus asks for /metrics: a port of the loopback interface, or ADDRESS:PORT; at an address that other machines reach, over TLS with "tls". Default: nowhere.
# metrics: 9442
# io_uring, libuv, or auto: io_uring where the kernel allows it.
engine: auto
# debug, info, warn or error.
logLevel: info
`;
