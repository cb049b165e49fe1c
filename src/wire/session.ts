import { z } from 'zod';
import type { SessionEnd, SessionRefusal, SessionRequest } from './serving.js';

/**
 * Sessions over a connection (replication rules 14 to 17). One connection carries one session.
 *
 * ```
 * SESSION_OPEN    client → server   identity; opens or resumes
 * SESSION_OPENED  server → client   header.term; or SESSION_REFUSED, and the server closes
 * SESSION_ENDED   server → client   nothing more will be answered; the server closes
 * SESSION_CLOSE   client → server   the session is over for good; the server answers SESSION_CLOSED and closes
 * ```
 */
export const sessionOpen = z.object({
  vdiskId: z.uuid(),
  generation: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  datapathUuid: z.uuid(),
  shard: z.number().int().min(0).max(65_535),
  /** Set by SESSION_CLOSE on a fresh connection: the session is to be closed, not opened. */
  close: z.boolean().optional(),
});
export type SessionOpen = z.infer<typeof sessionOpen>;

export const sessionOpened = z.object({
  term: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  sizeBytes: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
});
export type SessionOpenedMessage = z.infer<typeof sessionOpened>;

const refusals = ['not-served', 'closed', 'busy'] as const satisfies readonly SessionRefusal[];
export const sessionRefused = z.object({ reason: z.enum(refusals), message: z.string().max(4_096) });
export type SessionRefusedMessage = z.infer<typeof sessionRefused>;

const ends = ['closed', 'fenced'] as const satisfies readonly SessionEnd[];
export const sessionEnded = z.object({ reason: z.enum(ends) });
export type SessionEndedMessage = z.infer<typeof sessionEnded>;

/** A name of the session for maps and logs. */
export function sessionKey(session: SessionRequest): string {
  return `${session.vdiskId}/${session.generation}/${session.datapathUuid}/${session.shard}`;
}
