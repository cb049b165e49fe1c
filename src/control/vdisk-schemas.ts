import * as z from 'zod';
import { count, health, vdiskView } from './schemas.js';
import { vdiskAnswer } from '../wire/vdisk-command.js';

/** Shapes of the management API for what the controllers of vdisks do: as in schemas.ts. */
/** What a node has been told by the controller of a vdisk, where that is there. */
export const commandView = z.object({ node: z.string(), answer: vdiskAnswer });
export type CommandView = z.infer<typeof commandView>;

/** A vdisk whose own metadata record cannot be read. */
export const unreadVdiskView = z.object({
  id: z.string(),
  /** Null: no name leads to it. */
  name: z.string().nullable(),
  health,
  problem: z.string(),
});
export type UnreadVdiskView = z.infer<typeof unreadVdiskView>;

export const vdiskListing = z.object({ vdisks: z.array(vdiskView), unread: z.array(unreadVdiskView).default([]) });
export type VdiskListing = z.infer<typeof vdiskListing>;

export const resizeRequest = z.object({
  sizeBytes: z.number().int().positive(),
  /** What lies beyond it may be cut off. */
  shrink: z.boolean().optional(),
});
export type ResizeRequest = z.infer<typeof resizeRequest>;

export const resizeView = z.object({
  vdisk: z.string(),
  vdiskId: z.string(),
  beforeBytes: count,
  sizeBytes: count,
  /** Data that was cut off. */
  cutBytes: count,
  /** The metadata has it. If not, it comes there by itself. */
  isRecorded: z.boolean(),
  /** Where it is attached, and whether new connections see the size there already. */
  hosts: z.array(z.object({ host: z.string(), isOffered: z.boolean() })),
});
export type ResizeView = z.infer<typeof resizeView>;

export const mapRequest = z.object({ fromBytes: z.coerce.number().int().nonnegative().optional() });
export type MapRequest = z.infer<typeof mapRequest>;

export const mapView = z.object({
  vdisk: z.string(),
  sizeBytes: count,
  /** Ascending, without gaps. `zero`: trimmed or zeroed; `hole`: never written. Neither takes space. */
  ranges: z.array(z.object({ offsetBytes: count, lengthBytes: count, state: z.enum(['data', 'zero', 'hole']) })),
  /** Where to go on; null: that was all. */
  nextBytes: count.nullable(),
  /** With the first part: what the copies take of their nodes' extents; null: the node does not say. */
  copies: z.array(z.object({ node: z.string(), allocatedBytes: count.nullable() })),
});
export type MapView = z.infer<typeof mapView>;

/** A vdisk that was quarantined (rule 19): by whose datapath, and what the controllers had that died, where. */
export const releasedView = z.object({
  vdisk: z.string(),
  host: z.string(),
  at: z.string(),
  requests: z.array(z.object({ op: z.string(), offsetBytes: count, lengthBytes: count })),
  nodes: z.array(z.string()),
});
export type ReleasedView = z.infer<typeof releasedView>;
