import { MAX_SENT_ENTRIES } from '../../core/replication/limits.js';

/** Messages with entries that wait for a read of the log, for one member of one vdisk: all that may be under way to it, each with one entry. */
export const MAX_QUEUED_SENDS = MAX_SENT_ENTRIES;
/** How often the machines of the groups are told the time. */
export const GROUP_TICK_MS = 50;
/** A controller of which nothing has been heard for so long may be followed by another one (rule 11). */
export const CONTROLLER_SILENT_MS = 700;
/** How long an open waits at a member for the end of its takeover, before the datapath is sent elsewhere. */
export const OPEN_WAIT_MS = 2_000;
/** After a start the members of a group wait so long for the controller that the record names. */
export const START_GRACE_MS = 2_000;
/** A replica that has read the record to take over, and is not in it, reads it again after so long at the earliest. */
export const LOOK_AGAIN_MS = 1_000;
/** Sessions that wait for a takeover of one vdisk. */
export const MAX_WAITING_OPENS = 256;
/** Between two attempts to bring a group back to its number of replicas. */
export const REPAIR_INTERVAL_MS = 500;
/** Memory that keeps what is not yet committed: buffers of 4 KiB, 64 KiB, 1 MiB. */
export const RETAINED_BUFFERS = [1024, 64, 16] as const;
/** Resyncs that one shard gives at a time. */
export const MAX_RESYNCS = 2;
/** Blocks of one message of a resync. */
export const RESYNC_BLOCKS = 256;
/** A replica that has not answered a step of its resync for so long is left alone; the next attempt goes on where it is. */
export const RESYNC_TIMEOUT_MS = 3_000;
/** How often blocks are read again that a drain may have overtaken. */
export const RESYNC_REREADS = 8;
/** How often the giver looks whether a drain that its blocks show already has been answered … */
export const RESYNC_DRAIN_POLL_MS = 5;
/** … and the taker whether its own drains have ended. */
export const RESYNC_QUIET_POLL_MS = 10;
/** Up to this share of the stream's space the log is kept for a replica while it is brought up. Then it is let go, and all segments are gone over once more ... */
export const RESYNC_HOLD_FILL = 0.6;
/** ... as long as each time takes at the most such a part of the time before: writes wait for a replica that is slower than they are. */
export const RESYNC_SHRINK = 0.7;
/** How long the log is kept for a replica that has been brought up, until it follows. */
export const RESYNC_HOLD_MS = 5_000;
/** Up to this share of the stream's space, the log is kept for members that may return. */
export const HOLD_FILL = 0.3;
/** How often a node looks for replicas that have no place in their groups. */
export const SURPLUS_INTERVAL_MS = 1_000;
/** A restart of the log that found no room is tried again. */
export const RESTART_RETRY_MS = 10;
/** How often a replica with which a new history begins looks whether all of the former one is in its extents. */
export const NEW_HISTORY_POLL_MS = 20;
/** Another member that was asked to take over is asked again only after this time. */
export const HANDOVER_TIMEOUT_MS = 1_000;
/** A node that is drained leaves a takeover to another member for so long; if nothing has come of it by then, it takes over itself. */
export const STEP_ASIDE_MS = 1_000;
/** A node that is drained looks so often whether there is something that it controls. */
export const DRAIN_INTERVAL_MS = 500;
/** So long a broken link says that the node behind it is gone. */
export const CLOSED_MS = 3_000;
/** Questions of one replica for copies of damaged blocks under way at once; and such questions that it answers at once. */
export const MAX_COPY_ASKS = 8;
export const MAX_COPY_ANSWERS = 4;
/** After this long without an answer the next replica is asked, or the same one again … */
export const COPY_TIMEOUT_MS = 500;
/** … and after this long a block counts as lost. A member that does not answer is removed long before. */
export const COPY_PATIENCE_MS = 5_000;
/** How often the refill of a damaged record begins anew because a drain has come between. */
export const REFILL_RETRIES = 8;
/** Damaged blocks of one replica that wait for being written again. */
export const MAX_REPAIRS = 256;
/** After this long without an answer the next node is asked for entries that are damaged here … */
export const ENTRY_RETRY_MS = 100;
/** … and after this long without an entry nobody that can be reached has them. Nodes that start together have found each other by then. */
export const ENTRIES_LOST_MS = 3_000;
