import * as z from 'zod';
import { MAX_NODE_ID_LENGTH } from './limits.js';
import type { SessionEnd, SessionRefusal, SessionRequest } from './serving.js';

/**
 * Sessions over a connection (replication rules 14 to 17). One connection carries one session.
 *
 * ```
 * SESSION_OPEN    client → server   identity; opens or resumes
 * SESSION_OPENED  server → client   header.term; or SESSION_REFUSED, and the server closes
 * SESSION_ENDED   server → client   nothing more will be answered; the server closes
 * SESSION_CLOSE   client → server   the session is over for good; the server answers SESSION_CLOSED and closes
 * SESSION_HANDOVER client → server  a wish: the vdisk is better controlled by that node (rule 12). No answer but, when it is done, SESSION_ENDED
 * ```
 * SESSION_REFUSED and SESSION_ENDED may name the node that controls the vdisk.
 */
const nodeId = z.string().min(1).max(MAX_NODE_ID_LENGTH);

export const sessionOpen = z.object({
  vdiskId: z.uuid(),
  generation: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  datapathUuid: z.uuid(),
  shard: z.number().int().min(0).max(65_535),
  /** Set by SESSION_CLOSE on a fresh connection: the session is to be closed, not opened. */
  close: z.boolean().optional(),
  left: nodeId.optional(),
  /** Beside the attachment that holds the vdisk, without writing; opened again without it, the attachment is activated. */
  shared: z.boolean().optional(),
});
export type SessionOpen = z.infer<typeof sessionOpen>;

export const sessionOpened = z.object({
  term: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  sizeBytes: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
});
export type SessionOpenedMessage = z.infer<typeof sessionOpened>;

const refusals = ['not-served', 'closed', 'busy', 'moved'] as const satisfies readonly SessionRefusal[];
export const sessionRefused = z.object({ reason: z.enum(refusals), message: z.string().max(4_096), node: nodeId.optional() });
export type SessionRefusedMessage = z.infer<typeof sessionRefused>;

const ends = ['closed', 'fenced'] as const satisfies readonly SessionEnd[];
export const sessionEnded = z.object({ reason: z.enum(ends), node: nodeId.optional() });
export type SessionEndedMessage = z.infer<typeof sessionEnded>;

export const sessionHandover = z.object({ vdiskId: z.uuid(), to: nodeId });
export type SessionHandoverMessage = z.infer<typeof sessionHandover>;

/** A name of the session for maps and logs. */
export function sessionKey(session: SessionRequest): string {
  return `${session.vdiskId}/${session.generation}/${session.datapathUuid}/${session.shard}`;
}
