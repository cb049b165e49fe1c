import type { ManagedNode, NodeStatus } from '../control/node.js';
import { spaceOf } from './space.js';
import type { StargateHost } from './stargate-host.js';

/** A Stargate's host as the management API sees it. */
export function managedNode(host: StargateHost): ManagedNode {
  const { nodeId, dataDirectory, shards } = host.options;
  return {
    id: nodeId,
    storeUuid: host.directory.storeUuid,
    dataDirectory,
    startedAt: new Date().toISOString(),
    place: container => host.place(container),
    serve: vdisk => host.serveNew(vdisk),
    remove: () => host.remove(),
    status: () => nodeStatus(host, shards),
    space: () => spaceOf(dataDirectory),
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
