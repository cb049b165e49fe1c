import { GatepathError } from '../base/errors.js';
import type { FaultContext } from './scenario.js';

/** The node that serves the vdisk now. */
export function controllerOf({ watch }: Pick<FaultContext, 'watch'>): string {
  const id = watch.view?.controller;
  if (id != null) return nodeOf(id);
  throw new GatepathError('retryable', 'ERR_NO_CONTROLLER', 'the vdisk has no controller now', 'see "gatepath vdisk show"');
}

/** A node that has a copy and does not serve. */
export function memberOf(context: Pick<FaultContext, 'watch'>): string {
  const controller = controllerOf(context);
  const id = membersOf(context).find(one => one !== controller);
  if (id !== undefined) return id;
  const action = 'drill a vdisk in a container with a replication factor of 2 or 3';
  throw new GatepathError('invalid', 'ERR_NO_MEMBER', `the vdisk has no member but its controller ${controller}`, action);
}

/** All nodes that have a copy. */
export function membersOf({ watch }: Pick<FaultContext, 'watch'>): string[] {
  return watch.view?.members.map(nodeOf) ?? [];
}

/** A member is named by its node, or by node/store/incarnation. */
const nodeOf = (memberId: string): string => memberId.split('/')[0]!;
