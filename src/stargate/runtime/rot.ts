/** Damaged blocks of a shard since its start. A block that is found again counts again. */
export interface RotCounters {
  /** Asked of other replicas: unreadable here, or with a wrong checksum. */
  damagedBlocks: number;
  /** Another replica had them whole. */
  fetchedBlocks: number;
  /** Written again into the extents here. */
  repairedBlocks: number;
  /** Records of the block store, of 64 blocks each, that were written anew from what another replica has. */
  refilledRecords: number;
  /** Nobody has them: whoever reads them gets EIO. */
  lostBlocks: number;
}

export function newRotCounters(): RotCounters {
  return { damagedBlocks: 0, fetchedBlocks: 0, repairedBlocks: 0, refilledRecords: 0, lostBlocks: 0 };
}
