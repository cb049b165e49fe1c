import * as z from 'zod';
import { count, text } from './schemas.js';

/** Containers in the management API: their policies, and what their vdisks use. Sizes are bytes. */

const enospc = z.enum(['wait', 'error']);
const quotaBytes = z.number().int().positive().max(Number.MAX_SAFE_INTEGER).nullable();

export const createContainerRequest = z.strictObject({
  name: text,
  replicationFactor: z.union([z.literal(1), z.literal(2), z.literal(3)]).optional(),
  /** With fewer members than this, writes wait. Default: 1, and 2 where the replication factor is 3. */
  minMembers: z.number().int().min(1).max(3).optional(),
  /** When a write is answered: when it is on stable storage (the default), or when it is in memory and a flush makes sure of it. */
  durability: z.enum(['always', 'flush']).optional(),
  /** What a write hears for which there is no space: nothing until there is some (the default), or ENOSPC. */
  enospc: enospc.optional(),
  /** Most that its vdisks may use together, one copy of each counted. Null, the default: as much as there is. */
  quotaBytes: quotaBytes.optional(),
});
export type CreateContainerRequest = z.infer<typeof createContainerRequest>;

/** What is missing stays as it is. */
export const setContainerRequest = z.strictObject({ enospc: enospc.optional(), quotaBytes: quotaBytes.optional() });
export type SetContainerRequest = z.infer<typeof setContainerRequest>;

export const containerView = z.object({
  name: z.string(),
  replicationFactor: count,
  minMembers: count,
  durability: z.string(),
  enospc: z.string().default('wait'),
  quotaBytes: count.nullable().default(null),
  createdAt: z.string(),
  vdisks: count,
  /** Sums over the vdisks: their sizes; the space that their data takes in the extents, and in the log at the most, one copy of it; all copies of both. */
  sizeBytes: count,
  allocatedBytes: count,
  logBytes: count.default(0),
  physicalBytes: count.default(0),
});
export type ContainerView = z.infer<typeof containerView>;
