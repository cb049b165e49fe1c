/** Outcome of one I/O as a controller reports it. The errno for a guest is decided at the datapath's edge. */
export const IoStatus = {
  ok: 0,
  /** Outcome unknown, replay elsewhere: this controller is no longer, or not yet, the one (rule 19). Never shown to a guest. */
  fenced: 1,
  /** The session was ended by a newer attachment or a detach. */
  closed: 2,
  /** Data is rotten and no good replica is left. */
  corrupt: 3,
  noSpace: 4,
  /** Outside the vdisk, misaligned, over a limit: a fault of the sender. */
  invalid: 5,
  readOnly: 6,
  /** A FLUSH, once: changes that were answered and not flushed may have been lost with the Stargate's memory (`durability: flush`). */
  lost: 7,
} as const;
export type IoStatus = (typeof IoStatus)[keyof typeof IoStatus];
