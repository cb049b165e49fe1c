import { wholeBlocks } from '../../base/size.js';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest } from '../../wire/path.js';
import { IoStatus } from '../../wire/status.js';
import { MapFlags } from '../../wire/vdisk-command.js';
import type { Controller } from './controller.js';
import { mapRange } from './map-range.js';
import { BLOCK_BYTES } from './ports.js';

/** Why the change that comes next has no place in the log: the log, or the container, is full. */
export type Lack = 'none' | 'log' | 'quota';

const extents = new Float64Array(2 * MAX_MAP_EXTENTS);

/** What changes take of the space there is, by the vdisk's {@link SpaceRule}: which have to wait, which are refused, and which take none and may go on. */
export class SpaceCheck {
  constructor(readonly controller: Controller) {}

  /** How many bytes are counted for the change, which may go into the log; -1: there is no quota left for it. */
  take(request: PathRequest): number {
    const { rule } = this.controller;
    if (rule.limitBytes === Infinity) return 0;
    const bytes = newBytes(request);
    if (rule.takenBytes + bytes > rule.limitBytes) return bytes === 0 || this.#isOverwrite(request) ? 0 : -1;
    rule.takenBytes += bytes;
    return bytes;
  }

  /** It has no place in the log now. */
  giveBack(bytes: number): void {
    this.controller.rule.takenBytes -= bytes;
  }

  /** It is refused; otherwise it waits. */
  isRefused(request: PathRequest, lack: Lack): boolean {
    const { rule, host } = this.controller;
    if (rule.onFull !== 'error') return false;
    if (lack === 'log') return host.isOutOfSpace?.() === true;
    return lack === 'quota' && rule.takenBytes + newBytes(request) > rule.endBytes;
  }

  /**
   * One that may go before others that lack space: one entry, of whole blocks, that takes no new space. Among changes that are under way together any order is right; and what
   * a guest does to get space (it writes its journal, and trims) must not wait for those that need it.
   */
  mayPass(request: PathRequest, lack: Lack): boolean {
    const { op, offsetBytes, lengthBytes } = request;
    if (op !== IoOp.trim && (offsetBytes % BLOCK_BYTES !== 0 || lengthBytes % BLOCK_BYTES !== 0)) return false;
    if (op === IoOp.write) return lack === 'quota' && this.#isOverwrite(request);
    return Math.floor((offsetBytes + lengthBytes) / BLOCK_BYTES) > Math.ceil(offsetBytes / BLOCK_BYTES);
  }

  /** All its blocks have data, in the log or in the extents. Asked of those alone that come when there is no quota left. */
  #isOverwrite({ offsetBytes, lengthBytes }: PathRequest): boolean {
    const from = Math.floor(offsetBytes / BLOCK_BYTES) * BLOCK_BYTES;
    const target = { offsetBytes: from, lengthBytes: wholeBlocks(offsetBytes + lengthBytes) - from, extents, extentCount: 0 };
    const isMapped = mapRange(this.controller, target) === IoStatus.ok && target.extentCount === 1;
    return isMapped && extents[0] === target.lengthBytes && extents[1] === MapFlags.data;
  }
}

/** The most that the change may allocate: of a range that is zeroed, its ends, which become full images. */
function newBytes({ op, offsetBytes, lengthBytes }: PathRequest): number {
  if (op === IoOp.trim) return 0;
  const front = offsetBytes % BLOCK_BYTES;
  const back = (offsetBytes + lengthBytes) % BLOCK_BYTES;
  if (op === IoOp.write) return front + lengthBytes + (back === 0 ? 0 : BLOCK_BYTES - back);
  return (Number(front !== 0) + Number(back !== 0)) * BLOCK_BYTES;
}
