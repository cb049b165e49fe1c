import { BLOCK_BYTES } from '../base/size.js';
import { MAX_IO_BYTES } from '../wire/path.js';

/** What is dealt to a vdisk at least, where there is so much: its longest change, which may cover one block more in part. */
export const LEAST_GRANT_BYTES = MAX_IO_BYTES + BLOCK_BYTES;
/** Counts for which those that get something of a small rest have it. */
const TURN_COUNTS = 4;

/** A vdisk that is controlled here, as it was counted. */
export interface Counted {
  readonly usedBytes: number;
  /** What it may still take of what it was dealt before. */
  readonly openBytes: number;
}

/** What vdisks that are controlled by other nodes have, or may have before those count again; and how many they are. */
export interface Elsewhere {
  readonly reservedBytes: number;
  readonly vdisks: number;
}

export interface Grant {
  /** What the vdisk may take until it is counted again. */
  readonly bytes: number;
  /** What this node may deal to all of its vdisks together: a longer change is not waited for. */
  readonly endBytes: number;
}

/**
 * Deals what a container has left to the vdisks of it that are controlled here, the same to each; where there is too little for that, to some by turns (`round` counts up).
 * Other nodes deal their part themselves. What one vdisk has not taken of its part is another's only when the next count says that it was told so: before that it may take it.
 */
export function deal(quotaBytes: number, here: readonly Counted[], elsewhere: Elsewhere, round: number): Grant[] {
  const used = here.reduce((sum, { usedBytes }) => sum + usedBytes, elsewhere.reservedBytes);
  const open = here.reduce((sum, { openBytes }) => sum + openBytes, 0);
  const left = Math.max(0, quotaBytes - used);
  const endBytes = Math.floor((left * here.length) / Math.max(1, here.length + elsewhere.vdisks));
  const count = Math.max(1, Math.min(here.length, Math.floor(endBytes / LEAST_GRANT_BYTES)));
  const share = Math.floor(endBytes / count);
  const first = Math.floor(round / TURN_COUNTS);
  let spare = Math.max(0, Math.min(left, endBytes) - open);
  return here.map(({ openBytes }, i) => {
    const wanted = (i + first) % here.length < count ? share : 0;
    const more = Math.max(0, Math.min(wanted - openBytes, spare));
    spare -= more;
    return { bytes: Math.min(wanted, openBytes) + more, endBytes };
  });
}
