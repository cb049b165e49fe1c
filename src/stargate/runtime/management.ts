import { MAX_MAP_EXTENTS } from '../../wire/path.js';
import type { SessionRefusal } from '../../wire/serving.js';
import { IoStatus } from '../../wire/status.js';
import { MapFlags, type VdiskAnswer, type VdiskCommand } from '../../wire/vdisk-command.js';
import type { Controller } from '../core/controller.js';
import { mapRange } from '../core/map-range.js';
import type { Groups } from './group/groups.js';
import type { Served } from './openings.js';

export type { VdiskAnswer, VdiskCommand };

/** Has the command carried out by the vdisk's controller, where that is, or comes to be, in this shard; `message`: why there is none that is alone. `done` is called once. */
export function command(
  vdiskId: string,
  wanted: VdiskCommand,
  { served, groups }: { readonly served: ReadonlyMap<string, Served>; readonly groups: Groups | null },
  message: string,
  done: (answer: VdiskAnswer) => void,
): void {
  const carryOut = (controller: Controller): void => {
    if (wanted.kind === 'resize') controller.resizes.start(wanted, done);
    else done(mapPage(controller, wanted.offsetBytes, wanted.lengthBytes));
  };
  const refuse = (reason: SessionRefusal, why: string, node?: string): void =>
    done({ kind: 'refused', reason, message: why, node: node ?? null });
  const group = groups?.all.get(vdiskId);
  if (group !== undefined) return group.opens.want({ onRefused: refuse, onController: carryOut });
  const alone = served.get(vdiskId);
  if (alone === undefined) refuse('not-served', message);
  else carryOut(alone.controller);
}

function mapPage(controller: Controller, offsetBytes: number, lengthBytes: number): VdiskAnswer {
  const { sizeBytes } = controller.state;
  const within = Math.min(lengthBytes, Math.max(0, sizeBytes - offsetBytes));
  const target = { offsetBytes, lengthBytes: within, extents: new Float64Array(2 * MAX_MAP_EXTENTS), extentCount: 0 };
  if (mapRange(controller, target, MapFlags.zero) !== IoStatus.ok) return { kind: 'damaged' };
  const extents = Array.from({ length: target.extentCount }, (_, i): [number, number] => [
    target.extents[2 * i]!,
    target.extents[2 * i + 1]!,
  ]);
  return { kind: 'map', sizeBytes, extents };
}
