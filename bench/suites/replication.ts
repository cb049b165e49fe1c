import { replicationPeers } from '../cluster-peers.js';
import type { NbdSuite } from '../turns.js';

const MIB = 1024 * 1024;
const RANGE_BYTES = 256 * MIB;
/** All three vdisks may be of one shard, and have to fit into its part of the cache. */
const CACHED_RANGE_BYTES = 48 * MIB;
const WRITE = { mode: 'write', blockBytes: 4096, rangeBytes: RANGE_BYTES, fua: true } as const;

function suite(name: string, title: string, request: NbdSuite['request']): NbdSuite {
  const { one, more } = replicationPeers();
  return { name, title: `${title}; three nodes, etcd and the datapath on this machine`, unit: 'IOPS', ours: more, peers: [one], request };
}

/** What a copy more costs. */
export const REPLICATION_SUITES: readonly NbdSuite[] = [
  suite('replicas-write-qd32', 'random writes of 4 KiB, 32 in flight', { ...WRITE, queueDepth: 32 }),
  suite('replicas-write-qd1', 'random writes of 4 KiB, one in flight', { ...WRITE, queueDepth: 1 }),
  suite('replicas-read-qd32', 'cached random reads of 4 KiB, 32 in flight', {
    mode: 'read',
    blockBytes: 4096,
    rangeBytes: CACHED_RANGE_BYTES,
    queueDepth: 32,
  }),
];
