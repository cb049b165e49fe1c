import { ControlClient } from '../control/client.js';
import type { EventRing } from '../control/events/ring.js';
import type { ManagedNode, NodeStatus } from '../control/node.js';
import type { CopyView, ServedView } from '../control/schemas.js';
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
    cluster: host.metadata.isShared ? { living: () => host.metadata.living(), ask, askCopy } : null,
  };
}

/** Short: whoever asks for the status of a system in trouble waits for it. */
const ASK_TIMEOUT_MS = 800;

const ask = (node: NodeRecord): Promise<ServedView | null> => askAt(node, client => client.served());
const askCopy = (node: Pick<NodeRecord, 'id' | 'control'>, vdiskId: string): Promise<CopyView | null> =>
  askAt(node, client => client.copy(vdiskId));

/** By its socket: of a node on another machine nobody is there, or another node. */
async function askAt<T extends { readonly node: string }>(
  { id, control }: Pick<NodeRecord, 'id' | 'control'>,
  question: (client: ControlClient) => Promise<T>,
): Promise<T | null> {
  if (control?.startsWith('unix:') !== true) return null;
  const client = new ControlClient({ socketPath: control.slice('unix:'.length) }, ASK_TIMEOUT_MS);
  const answer = await question(client).catch(() => null);
  return answer?.node === id ? answer : null;
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
