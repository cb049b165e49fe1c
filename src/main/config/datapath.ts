import { z } from 'zod';
import { DEFAULT_SHARDS } from '../limits.js';
import { engine, logLevel, name, path, shards } from './fields.js';

export const datapathConfig = z.strictObject({
  socket: path,
  stargate: path,
  control: path.optional(),
  host: name.optional(),
  shards: shards.default(DEFAULT_SHARDS),
  engine: engine.default('auto'),
  logLevel: logLevel.default('info'),
});
export type DatapathConfig = z.infer<typeof datapathConfig>;

export const DATAPATH_EXAMPLE = `# gatepath datapath --config FILE

# The NBD socket: guests find their disks here, each under the name of its vdisk.
socket: /run/gatepath/nbd.sock
# The socket of the Stargate that keeps the data ("socket" in its configuration).
stargate: /run/gatepath/stargate.sock
# Where "gatepath status" asks; with "control.sock" beside the NBD socket, its --data is that directory.
# control: /run/gatepath/control.sock
# Name of this host, for "gatepath attach --host". Default: the machine's host name.
# host: hypervisor-1
# Threads that serve I/O; at least 2.
shards: 2
# io_uring, libuv, or auto: io_uring where the kernel allows it.
engine: auto
# debug, info, warn or error.
logLevel: info
`;
