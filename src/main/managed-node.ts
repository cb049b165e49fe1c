import { ControlClient } from '../control/client.js';
import type { EventRing } from '../control/events/ring.js';
import type { ManagedNode, NodeStatus } from '../control/node.js';
import type { ServedView } from '../control/schemas.js';
import type { NodeRecord } from '../meta/model.js';
import { spaceOf } from './space.js';
import type { StargateHost } from './stargate-host.js';

/** A Stargate's host as the management API sees it. */
export function managedNode(host: StargateHost, events: EventRing): ManagedNode {
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
    lastProblem: vdiskId => events.lastProblem(vdiskId),
    space: () => spaceOf(dataDirectory),
    cluster: host.metadata.isShared ? { living: () => host.metadata.living(), ask } : null,
  };
}

/** Short: whoever asks for the status of a system in trouble waits for it. */
const ASK_TIMEOUT_MS = 800;

/** By its socket: of a node on another machine nobody is there, or another node. */
async function ask({ id, control }: NodeRecord): Promise<ServedView | null> {
  if (control?.startsWith('unix:') !== true) return null;
  const client = new ControlClient({ socketPath: control.slice('unix:'.length) }, ASK_TIMEOUT_MS);
  const served = await client.served().catch(() => null);
  return served?.node === id ? served : null;
}

async function nodeStatus(host: StargateHost, shards: number): Promise<NodeStatus> {
  const answers = await host.status();
  return {
    vdisks: answers.flatMap(({ status }) => status.vdisks),
    replicas: answers.flatMap(({ status }) => status.replicas),
    problems: answers.flatMap(({ status }) => status.problems),
    shards: answers.map(({ shard, status: { cache, oplog, hops, rot, scrub } }) => ({
      shard,
      cache: { ...cache },
      oplog: [...oplog],
      rot: { ...rot },
      scrub,
      hops: { ...hops },
    })),
    silentShards: shards - answers.length,
  };
}
