import type { EnospcPolicy } from '../../meta/model.js';

/**
 * What a vdisk may take of the space there is: by its container's policy and quota. One object for each vdisk of a shard; it outlives the vdisk's controllers. Whoever
 * knows the whole container counts what its vdisks use, and moves the limit: this only counts what is taken meanwhile, so that nothing is asked of anybody for a write.
 */
export class SpaceRule {
  /** What a change hears that has no space, and will not get any by itself. */
  onFull: EnospcPolicy = 'wait';
  /** Bytes of changes that may have taken new space, ever. */
  takenBytes = 0;
  /** `takenBytes` may go up to here. Infinity: there is no quota. */
  limitBytes = Infinity;
  /** Where `takenBytes` would be with the container's last byte taken, as far as is known: what lies behind is refused, what lies before it waits for the limit to move. */
  endBytes = Infinity;
}
