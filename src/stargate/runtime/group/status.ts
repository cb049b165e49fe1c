import type { ReplicaStatus } from '../../messages.js';
import type { Groups } from './groups.js';

/** What a shard says of its replicas. */
export function replicaStatus(groups: Groups | null): ReplicaStatus[] {
  if (groups === null) return [];
  return [...groups.all.values()].map(group => {
    const { vdiskId, replica, controllerNode, appliedSeq, drainedSeq, controller, ports, options } = group;
    return {
      ...{ vdiskId, controllerNode, appliedSeq, drainedSeq },
      office: replica.takeover.state.kind,
      term: replica.takeover.leader?.term ?? replica.member.promisedTerm,
      members: group.group?.members ?? [],
      lastSeq: replica.member.log.lastSeq,
      allocatedBytes: ports.store.allocatedBytes(options.layer),
      sessions: controller?.sessions.size ?? 0,
    };
  });
}
