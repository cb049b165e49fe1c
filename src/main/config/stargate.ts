import { z } from 'zod';
import { DEFAULT_CACHE_BYTES, DEFAULT_OPLOG_BYTES, DEFAULT_SHARDS, LEAST_CACHE_BYTES, LEAST_OPLOG_BYTES } from '../limits.js';
import { engine, logLevel, name, path, shards, size } from './fields.js';

export const stargateConfig = z.strictObject({
  data: path,
  socket: path,
  node: name.default('node-1'),
  shards: shards.default(DEFAULT_SHARDS),
  cache: size(LEAST_CACHE_BYTES, '16M').default(DEFAULT_CACHE_BYTES),
  oplog: size(LEAST_OPLOG_BYTES, '512M').default(DEFAULT_OPLOG_BYTES),
  engine: engine.default('auto'),
  logLevel: logLevel.default('info'),
});
export type StargateConfig = z.infer<typeof stargateConfig>;

export const STARGATE_EXAMPLE = `# gatepath stargate --config FILE

# Directory of the node's data: log, extents, block store, metadata. Made at the first start; one process at a time.
data: /var/lib/gatepath
# Where datapaths of this machine connect. Beside it, with ".meta" behind its name, they read the metadata.
socket: /run/gatepath/stargate.sock
# Name of this node in the cluster.
node: node-1
# Threads that serve I/O; at least 2.
shards: 2
# Memory for cached blocks, over all shards.
cache: 512M
# Most space that the log takes before it is drained into extents, over all streams.
oplog: 2G
# io_uring, libuv, or auto: io_uring where the kernel allows it.
engine: auto
# debug, info, warn or error.
logLevel: info
`;
