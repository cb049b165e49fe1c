import { randomUUID } from 'node:crypto';
import { MAIN, type ShardContext } from '../shard/context.js';
import { MAX_APPEND_ENTRIES } from '../wire/limits.js';
import type { PeerLinksPort, PeerListener, PeerNode } from '../wire/peers.js';
import { memberOf, type PeerSelf } from '../wire/peer-open.js';
import { TransferBuffers, transferBufferBytes } from './cache/transfer-buffers.js';
import {
  StargateTopic,
  type GroupCasDone,
  type GroupCasRequest,
  type GroupHint,
  type GroupRead,
  type GroupReadRequest,
  type ReplicaStatus,
} from './messages.js';
import { BLOCK_BYTES } from './core/ports.js';
import type { Removals } from './core/replication/effects.js';
import { ENTRY_HEADER_BYTES } from './oplog/index.js';
import type { GroupVdisk } from './runtime/group/group-vdisk.js';
import type { GroupPorts, Groups, LivingNode } from './runtime/group/groups.js';
import { RETAINED_BUFFERS } from './runtime/group/limits.js';

export type Peers = (listener: PeerListener, self: PeerSelf) => PeerLinksPort;

const HEADERS_BYTES = MAX_APPEND_ENTRIES * ENTRY_HEADER_BYTES;

/** Arena bytes that a shard's replicas take of its region. */
export function groupRegionBytes(): number {
  return transferBufferBytes(RETAINED_BUFFERS) + HEADERS_BYTES;
}

/** Joins the replicas of a shard to its links and to the main thread. `groups` is there when the first message comes. */
export function groupPorts(
  context: ShardContext,
  self: PeerSelf,
  { boot, keepSurplusMs }: Pick<GroupPorts, 'boot' | 'keepSurplusMs'>,
  peers: Peers,
  groups: () => Groups,
): GroupPorts {
  const { region } = context;
  const links = peers(
    {
      onPeerMessage: (from, vdiskId, message, entries) => groups().onPeerMessage(from, vdiskId, message, entries),
      onPeerClosed: node => groups().onPeerClosed(node),
    },
    self,
  );
  context.onMessage(StargateTopic.nodes, message => {
    links.setNodes(message as readonly PeerNode[]);
    groups().setNodes(message as readonly PeerNode[]);
  });
  context.onMessage(StargateTopic.draining, message => groups().setDraining(message as readonly string[]));
  context.onMessage(StargateTopic.removals, message => groups().setRemovals(message as Removals));
  context.onMessage(StargateTopic.living, message => groups().setLiving(message as readonly LivingNode[]));
  context.onMessage(StargateTopic.groupCasDone, message => {
    const { vdiskId, nonce, outcome } = message as GroupCasDone;
    groups().onCas(vdiskId, nonce, outcome);
  });
  context.onMessage(StargateTopic.groupRead, message => {
    const { vdiskId, readId, group, seen } = message as GroupRead;
    groups().onGroup(vdiskId, readId, group, seen);
  });
  context.onMessage(StargateTopic.groupHint, message => {
    const { vdiskId, controllerNode, term, memberNodes } = message as GroupHint;
    groups().onRecord(vdiskId, controllerNode, term, memberNodes);
  });
  return {
    self: memberOf(self),
    boot,
    sender: links,
    retained: new TransferBuffers(region.take(transferBufferBytes(RETAINED_BUFFERS)), RETAINED_BUFFERS),
    headersOffset: region.take(HEADERS_BYTES),
    newNonce: () => randomUUID(),
    cas: (vdiskId, expectedEpoch, group) =>
      context.send(MAIN, StargateTopic.groupCas, { vdiskId, expectedEpoch, group } satisfies GroupCasRequest),
    readGroup: (vdiskId, readId) => context.send(MAIN, StargateTopic.readGroup, { vdiskId, readId } satisfies GroupReadRequest),
    keepSurplusMs,
    wanted: vdiskId => context.send(MAIN, StargateTopic.replicaWanted, { vdiskId }),
    events: context.events,
    say: (level, message, fields) => context.log.log(level, message, fields),
  };
}

/** What a shard says of its replicas. */
export function replicaStatus(groups: Iterable<GroupVdisk>): ReplicaStatus[] {
  return [...groups].map(group => {
    const { vdiskId, replica, controllerNode, local, controller, options } = group;
    return {
      ...{ vdiskId, controllerNode },
      appliedSeq: local.appliedSeq,
      drainedSeq: local.drained.seq,
      office: replica.takeover.state.kind,
      term: replica.takeover.leader?.term ?? replica.member.promisedTerm,
      members: group.group?.members ?? [],
      historyId: group.log.historyId,
      lastSeq: replica.member.log.lastSeq,
      lastTerm: replica.member.log.lastTerm,
      isWhole: replica.member.log.lastSeq > 0 && !local.isBehind && !group.resyncs.isTarget,
      isTorn: replica.member.isTorn,
      allocatedBytes: local.ports.store.allocatedBytes(options.layer),
      logBytes: local.index.writtenBlocks * BLOCK_BYTES,
      sessions: controller?.sessions.size ?? 0,
      resync: group.resyncs.progress,
    };
  });
}
