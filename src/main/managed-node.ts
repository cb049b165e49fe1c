import { statfsSync } from 'node:fs';
import type { ManagedNode, NodeStatus } from '../control/node.js';
import type { StargateHost } from './stargate-host.js';

/** A Stargate's host as the management API sees it. */
export function managedNode(host: StargateHost): ManagedNode {
  const { nodeId, dataDirectory, shards } = host.options;
  return {
    id: nodeId,
    storeUuid: host.directory.storeUuid,
    dataDirectory,
    startedAt: new Date().toISOString(),
    serve: vdisk => host.serveNew(vdisk),
    remove: vdisk => host.remove(vdisk),
    status: () => nodeStatus(host, shards),
    space: () => {
      const { bavail, blocks, bsize } = statfsSync(dataDirectory);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    },
  };
}

async function nodeStatus(host: StargateHost, shards: number): Promise<NodeStatus> {
  const answers = await host.status();
  return {
    vdisks: answers.flatMap(({ status }) => status.vdisks),
    problems: answers.flatMap(({ status }) => status.problems),
    shards: answers.map(({ shard, status: { cache, oplog, hops } }) => ({
      shard,
      cache: { ...cache },
      oplog: [...oplog],
      hops: { ...hops },
    })),
    silentShards: shards - answers.length,
  };
}
