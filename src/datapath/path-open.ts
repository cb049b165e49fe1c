import type { ShardContext } from '../shard/context.js';
import type { StreamTarget } from '../transport/dial.js';
import type { PathAttempt, PathListener } from '../transport/path-listener.js';
import type { ShardTransport } from '../transport/shard-transport.js';
import type { SessionRequest, VdiskServing } from '../wire/serving.js';
import type { PathTarget, StreamPathTarget } from './paths.js';

/** The ways that a shard's sessions can take. */
export interface Ways {
  readonly context: ShardContext;
  readonly transport: ShardTransport;
  /** The Stargate part of this process, if any. */
  readonly serving: VdiskServing | null;
}

export const streamOf = (target: StreamPathTarget): StreamTarget => (target.kind === 'unix' ? target.socketPath : target);

const NO_ATTEMPT: PathAttempt = { abandon: () => undefined };

/** Asks for the session at the target; the listener may be told during the call. */
export function openPathAt(
  { context, transport, serving }: Ways,
  target: PathTarget,
  session: SessionRequest,
  listener: PathListener,
): PathAttempt {
  if (target.kind !== 'in-process') return transport.unix.open(streamOf(target), session, listener);
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
  if (target.kind !== 'in-process') {
    transport.unix.closeSession(streamOf(target), session, done);
    return;
  }
  const shard = serving?.shardOf(session.vdiskId) ?? -1;
  if (shard === context.index) serving!.closeSession(session, done);
  else if (shard >= 0) transport.mailbox.closeSession(shard, session, done);
}
