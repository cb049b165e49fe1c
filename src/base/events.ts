/**
 * What happens in a process that a person may want to know afterwards: what, when, why, and what to do. Any room may emit; the process keeps the last ones in a ring
 * (`src/control/events/`), shows them by its management API and writes them to its log.
 */

/** Stable: programs tell events apart by them. */
export const EVENT_KINDS = [
  /** A member has taken over a vdisk; its controller was gone, or had asked for it. */
  'controller-taken-over',
  /** A controller here has ended: another one follows, or it gave up. */
  'controller-ended',
  /** This node wants another one to control the vdisk. */
  'handover-asked',
  'member-removed',
  /** A replica is being brought back into the group. */
  'learner-added',
  /** It is a member again: whole, and needed for every write. */
  'member-added',
  'resync-started',
  'resync-done',
  'resync-failed',
  'vdisk-unavailable',
  'vdisk-available',
  /** It was brought back by force: a new history has begun with the replica of this node, and what others had beyond that is lost. */
  'vdisk-recovered',
  /** This node's replica was of a history that is over: it is removed, to be brought up anew. */
  'replica-discarded',
  /** A write or sync of the log or the extents failed: the process ends. */
  'disk-failed',
  'rot-found',
  'rot-mended',
  /** A record of the metadata cannot be read. */
  'metadata-damaged',
  'metadata-mended',
  'disk-full',
  'disk-space-back',
  /** A deletion that a former process has begun goes on. */
  'space-returning',
  /** Nothing is left of a deleted vdisk, or of a copy, on this node. */
  'space-returned',
  /** What must not happen between replicas has happened, or would have. */
  'replication-alarm',
  'attachment-moved',
  'path-opened',
  'path-lost',
  /** One controller after the other has died while it had the same request of this vdisk: it is served to nobody until it is released. */
  'vdisk-quarantined',
  'node-draining',
  'node-drained',
  'node-undrained',
  'node-stopping',
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export type EventSeverity = 'info' | 'warn' | 'error';

export interface EventDraft {
  readonly kind: EventKind;
  readonly severity: EventSeverity;
  /** Null: it is of no vdisk. */
  readonly vdiskId: string | null;
  /** The node it is about, where that is another one than the process's own. */
  readonly subject?: string;
  /** Why, in words. */
  readonly cause: string;
  /** What to do about it; missing: nothing. */
  readonly action?: string;
  /** Numbers and names for programs. */
  readonly details?: Readonly<Record<string, string | number | boolean | null>>;
}

export interface EventSink {
  emit(event: EventDraft): void;
}

export const silentEvents: EventSink = { emit: () => undefined };
