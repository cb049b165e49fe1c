import type { StargatePath } from './path.js';

/**
 * What a Stargate offers in each of its shards, and all that transports and datapaths know of it. Each shard has one
 * `VdiskServing` for the vdisks whose controllers live there; whoever stands in another shard or process gets to it through a
 * transport, which calls the same methods in the right shard. No promises: a shard's event loop may never run.
 */
export interface VdiskServing {
  /**
   * The shard of this process whose `VdiskServing` serves the vdisk, or -1 where this process does not (yet) serve it.
   * A function of what is known at start and from the metadata: the same in every shard.
   */
  shardOf(vdiskId: string): number;
  /**
   * Opens the session, or resumes it: a session is known by the four fields of `request`, and its clientSeqs go on where they were
   * (rules 14, 15). To be called in the vdisk's shard. Exactly one of `onOpened` and `onRefused` follows, during the call or
   * later. An earlier path of the same session ends first, with 'fenced': where its user has not closed it, it opens again.
   */
  openSession(request: SessionRequest, listener: SessionListener): void;
  /**
   * The session is over for good (detach): nothing of it that is not yet sequenced is applied any more. Its path, if still open, is given
   * up first. `done` is called once, when the SESSION_CLOSE is committed or there is nothing to close.
   */
  closeSession(request: SessionRequest, done: () => void): void;
  /**
   * A datapath asks the controller to hand the vdisk over to the node (rule 12): a wish, that may be ignored. Done, the sessions end with 'fenced' and
   * the hint. To be called in the vdisk's shard.
   */
  requestHandover?(vdiskId: string, toNode: string): void;
}

/** One datapath shard's use of one vdisk. All four fields together are the identity of the session. */
export interface SessionRequest {
  readonly vdiskId: string;
  /** Generation of the attachment; a session of a newer one ends those of older ones. */
  readonly generation: number;
  /** New for each start of a datapath process. */
  readonly datapathUuid: string;
  /** Index of the datapath's shard. */
  readonly shard: number;
  /** No part of the identity: the node that the datapath has just left because it was silent or stuck. A hint for a member that may take over. */
  readonly left?: string | undefined;
  /** No part of the identity either: the attachment is let in beside the one that holds the vdisk, and may not write (rule 18). Absent: it is to hold it alone. */
  readonly shared?: boolean | undefined;
}

export interface SessionListener {
  /**
   * The SESSION_OPEN is committed and the path may be used. The path's `kind` is 'same-shard'; after its `close`, it touches neither the
   * requests nor their payload any more, and `release` still has to be called for what it answered before.
   */
  onOpened(path: StargatePath, session: OpenedSession): void;
  /** `node`: who controls the vdisk, as far as this Stargate knows. */
  onRefused(reason: SessionRefusal, message: string, node?: string): void;
  /**
   * After `onOpened`, not after `path.close()`: the path is no more (its `close` may still be called, without effect). Outstanding requests have an unknown
   * outcome. 'closed' is final, 'fenced' means: open again, here or elsewhere, best at `node` where there is one.
   */
  onEnded(reason: SessionEnd, node?: string): void;
}

export interface OpenedSession {
  /** Term of the controller. */
  readonly term: number;
  readonly sizeBytes: number;
}

/**
 * not-served: this Stargate does not serve the vdisk now (recovery, another node, stopping): try again, here or elsewhere.
 * closed: the session has been ended by a newer attachment, another datapath or a detach: final.
 * busy: a limit is reached: try again later.
 * moved: another node controls the vdisk; the hint says which, where it is known.
 */
export type SessionRefusal = 'not-served' | 'closed' | 'busy' | 'moved';
export type SessionEnd = 'closed' | 'fenced';
