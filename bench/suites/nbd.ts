import { nbdkitFile, nbdkitMemory } from '../peers.js';
import type { NbdSuite } from '../turns.js';

const MIB = 1024 * 1024;
const CACHED_RANGE_BYTES = 256 * MIB;
const DURABLE_RANGE_BYTES = 512 * MIB;
const MEMORY_PEERS = [nbdkitMemory(), nbdkitMemory(1)];
const FILE_PEERS = [nbdkitFile(), nbdkitFile(1)];

export const NBD_SUITES: readonly NbdSuite[] = [
  {
    name: 'read-4k-qd32',
    title: 'cached random reads of 4 KiB, 32 in flight, one connection',
    unit: 'IOPS',
    target: 1.5,
    peers: MEMORY_PEERS,
    request: { mode: 'read', blockBytes: 4096, queueDepth: 32, rangeBytes: CACHED_RANGE_BYTES },
  },
  {
    name: 'read-4k-qd1',
    title: 'cached random reads of 4 KiB, one in flight, server and client pinned to one CPU',
    unit: 'IOPS',
    target: 1.1,
    peers: MEMORY_PEERS,
    request: { mode: 'read', blockBytes: 4096, queueDepth: 1, rangeBytes: CACHED_RANGE_BYTES },
    pinned: true,
  },
  {
    name: 'read-1m-qd8',
    title: 'cached random reads of 1 MiB, 8 in flight, one connection',
    unit: 'MB/s',
    target: 1.2,
    peers: MEMORY_PEERS,
    request: { mode: 'read', blockBytes: MIB, queueDepth: 8, rangeBytes: CACHED_RANGE_BYTES },
  },
  {
    name: 'durable-4k-qd32',
    title: 'random writes of 4 KiB with FUA, 32 in flight, one connection',
    unit: 'IOPS',
    target: 2.5,
    peers: FILE_PEERS,
    request: { mode: 'write', blockBytes: 4096, queueDepth: 32, rangeBytes: DURABLE_RANGE_BYTES, fua: true },
  },
  {
    name: 'durable-4k-qd1',
    title: 'random writes of 4 KiB with FUA, one in flight',
    unit: 'IOPS',
    target: 1,
    peers: FILE_PEERS,
    request: { mode: 'write', blockBytes: 4096, queueDepth: 1, rangeBytes: DURABLE_RANGE_BYTES, fua: true },
  },
];
