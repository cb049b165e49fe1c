import type { Socket } from 'node:net';
import type { ZodType } from 'zod';
import { ControlClient } from '../control/client.js';
import type { EventRing } from '../control/events/ring.js';
import type { AskedNode, ManagedCluster, ManagedNode, NodeStatus } from '../control/node.js';
import { copyView, servedView } from '../control/schemas.js';
import { commandView } from '../control/vdisk-schemas.js';
import { parseTcp } from '../wire/placement.js';
import { askNode } from '../meta/ask.js';
import { listNodes } from '../meta/nodes.js';
import type { TcpEndpoint } from '../meta/wire-store.js';
import type { NodeQuestion } from '../wire/meta.js';
import { COMMAND_TIMEOUT_MS } from './limits.js';
import type { UsedElsewhere } from './space-policies.js';
import { spaceOf } from './space.js';
import type { StargateHost } from './stargate-host.js';
import { SOFTWARE, VERSION } from './version.js';

type ConnectTcp = (endpoint: TcpEndpoint) => Socket;

/** A Stargate's host as the management API sees it. */
export function managedNode(host: StargateHost, events: EventRing, connectTcp: ConnectTcp | null): ManagedNode {
  const { nodeId, dataDirectory, shards } = host.options;
  const others = host.metadata.isShared ? cluster(host, connectTcp) : null;
  if (others !== null) host.usedElsewhere = () => usedElsewhere(host, others);
  return {
    id: nodeId,
    storeUuid: host.directory.storeUuid,
    dataDirectory,
    version: VERSION,
    startedAt: new Date().toISOString(),
    place: container => host.place(container),
    serve: vdisk => host.serveNew(vdisk),
    makeRoom: () => host.reserves.deletion.makeRoom(),
    remove: () => host.remove(),
    command: (vdiskId, command) => host.command(vdiskId, command),
    status: vdiskId => nodeStatus(host, shards, vdiskId),
    hops: shard => host.hops(shard, one => one.snapshot()),
    lastProblem: vdiskId => events.lastProblem(vdiskId),
    space: () => spaceOf(dataDirectory),
    reservedBytes: vdiskId => host.policies?.reservedBytes(vdiskId) ?? null,
    usedBytes: async container => (await host.policies?.usedBytes(container)) ?? 0,
    cluster: others,
  };
}

/** Of nodes that live; those that do not answer are left out. */
async function usedElsewhere(host: StargateHost, others: ManagedCluster): Promise<ReadonlyMap<string, UsedElsewhere>> {
  const living = new Set(others.living().map(({ id }) => id));
  const nodes = (await listNodes(host.store)).filter(({ id }) => id !== host.options.nodeId && living.has(id));
  const answers = await Promise.all(nodes.map(({ id, addresses, control }) => others.ask({ id, tcp: addresses.tcp, control })));
  const vdisks = answers.flatMap(one => one?.vdisks ?? []);
  return new Map(
    vdisks.map(({ vdiskId, allocatedBytes, logBytes, reservedBytes }) => {
      const usedBytes = allocatedBytes + logBytes;
      return [vdiskId, { usedBytes, reservedBytes: reservedBytes ?? usedBytes }];
    }),
  );
}

/** Short: whoever asks for the status of a system in trouble waits for it. */
const ASK_TIMEOUT_MS = 800;
/** It may have to take over first. */
const ASK_COMMAND_TIMEOUT_MS = COMMAND_TIMEOUT_MS + 500;

/** Null: it does not answer, or is another node. `connectTcp`: over TCP, as nodes talk to each other; null: by sockets on this machine, where all of them are. */
async function ask(node: AskedNode, question: NodeQuestion, connectTcp: ConnectTcp | null, timeoutMs: number): Promise<unknown> {
  const { tcp, control } = node;
  if (connectTcp !== null && tcp !== null) {
    return askNode(connectTcp({ ...parseTcp(tcp), node: node.id }), question, { software: SOFTWARE, timeoutMs });
  }
  if (control?.startsWith('unix:') !== true) return null;
  const client = new ControlClient({ socketPath: control.slice('unix:'.length) }, timeoutMs);
  if (question.about === 'served') return client.served(question.vdiskId);
  return question.about === 'copy' ? client.copy(question.vdiskId) : client.command(question.vdiskId, question.command);
}

function cluster(host: StargateHost, connectTcp: ConnectTcp | null): ManagedCluster {
  const from = async <T extends { readonly node: string }>(
    node: AskedNode,
    question: NodeQuestion,
    schema: ZodType<T>,
    timeoutMs = ASK_TIMEOUT_MS,
  ): Promise<T | null> => {
    const answer = await ask(node, question, connectTcp, timeoutMs).catch(() => null);
    const told = schema.safeParse(answer);
    return told.success && told.data.node === node.id ? told.data : null;
  };
  return {
    living: () => host.metadata.living(),
    ask: (node, vdiskId) => from(node, { about: 'served', ...(vdiskId === undefined ? {} : { vdiskId }) }, servedView),
    askCopy: (node, vdiskId) => from(node, { about: 'copy', vdiskId }, copyView),
    askCommand: async (node, vdiskId, command) =>
      (await from(node, { about: 'command', vdiskId, command }, commandView, ASK_COMMAND_TIMEOUT_MS))?.answer ?? null,
  };
}

async function nodeStatus(host: StargateHost, shards: number, vdiskId?: string): Promise<NodeStatus> {
  const answers = await host.status(vdiskId);
  return {
    vdisks: answers.flatMap(({ status }) => status.vdisks),
    replicas: answers.flatMap(({ status }) => status.replicas),
    problems: answers.flatMap(({ status }) => status.problems),
    shards: answers.map(({ shard, status: { cache, oplog, rot, scrub } }) => ({
      shard,
      cache: { ...cache },
      oplog: [...oplog],
      rot: { ...rot },
      scrub,
      hops: host.hops(shard, one => one.summary()),
    })),
    removing: answers.reduce((sum, { status }) => sum + status.removing, 0),
    removingBytes: answers.reduce((sum, { status }) => sum + status.removingBytes, 0),
    storePages: host.storePages,
    damagedRecords: host.damagedRecords,
    silentShards: shards - answers.length,
  };
}
