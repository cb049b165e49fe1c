import type { ShardContext } from '../shard/context.js';
import type { PathAttempt, PathListener } from '../transport/path-listener.js';
import type { ShardTransport } from '../transport/shard-transport.js';
import type { SessionRequest, VdiskServing } from '../wire/serving.js';
import type { PathTarget } from './paths.js';

/** The ways that a shard's sessions can take. */
export interface Ways {
  readonly context: ShardContext;
  readonly transport: ShardTransport;
  /** The Stargate part of this process, if any. */
  readonly serving: VdiskServing | null;
}

const NO_ATTEMPT: PathAttempt = { abandon: () => undefined };

/** Asks for the session at the target; the listener may be told during the call. */
export function openPathAt(
  { context, transport, serving }: Ways,
  target: PathTarget,
  session: SessionRequest,
  listener: PathListener,
): PathAttempt {
  if (target.kind === 'unix') return transport.unix.open(target.socketPath, session, listener);
  const shard = serving?.shardOf(session.vdiskId) ?? -1;
  if (shard < 0) listener.onRefused('not-served', 'the Stargate of this process does not serve it now');
  else if (shard !== context.index) return transport.mailbox.open(shard, session, listener);
  else {
    serving!.openSession(session, {
      onOpened: listener.onOpened,
      onRefused: listener.onRefused,
      onEnded: (reason, node) => listener.onEnded(reason, 'its controller ended the session', node),
    });
  }
  return NO_ATTEMPT;
}

/** Tells the Stargate there that the session is over for good. Best effort. */
export function closeSessionAt({ context, transport, serving }: Ways, target: PathTarget, session: SessionRequest): void {
  const done = (): void => undefined;
  if (target.kind === 'unix') {
    transport.unix.closeSession(target.socketPath, session, done);
    return;
  }
  const shard = serving?.shardOf(session.vdiskId) ?? -1;
  if (shard === context.index) serving!.closeSession(session, done);
  else if (shard >= 0) transport.mailbox.closeSession(shard, session, done);
}
