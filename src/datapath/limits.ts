import { SESSION_WINDOW } from '../wire/limits.js';

/** Requests of one session that are sent or held for replay. */
export const MAX_UNANSWERED = 2_048;
/**
 * Requests behind those, not numbered yet. The front end bounds what it takes in below the sum: connections × requests of each, of which large ones come in pieces
 * (main/nbd.ts asserts it for the NBD server, whose buffers bound the bytes too). More is its bug.
 */
export const MAX_WAITING = 1_048_576;

/**
 * A controller that dies has died of what it got so lately, if of a request at all (rule 19). It is no longer silent before: a path without a sign of life is given up after
 * SUSPECT_AFTER_MS.
 */
export const DIES_WITHIN_MS = 1_000;

/** What a dead controller had is sent one by one to the next, so many of them; then more and more at once. So it is known which one the next has died of, if it does. */
export const SENT_ALONE = 32;
/** Requests that a quarantine names. */
export const MAX_ACCUSED = 8;

/** Between two rounds over all nodes that may serve a vdisk: doubles from the first to the last. */
export const RECONNECT_FIRST_MS = 5;
export const RECONNECT_LAST_MS = 250;
/** A node that has not answered for so long keeps the question, and the next one is asked beside it. */
export const HEDGE_AFTER_MS = 300;
/** A node that was lost, or that has refused, is asked behind the others for so long. */
export const SHUN_MS = 2_000;
/** In one round, nodes that are asked a second time because another one named them meanwhile. */
export const MAX_HINT_JUMPS = 2;
/** Nodes that are no members of a vdisk's group, asked for what they know: so many of them, and one each so often. */
export const MAX_OTHERS = 4;
export const OTHERS_EVERY_MS = 1_000;
/** Between two passes over the records of nodes and groups. */
export const TOPOLOGY_PAUSE_MS = 50;
/** Nodes of a cluster that a datapath knows. */
export const MAX_NODES = 256;

/** While an export is being removed: between two looks whether its last connection has gone. */
export const DETACH_POLL_MS = 20;
/** A status is reported without the shards that have not answered by then. */
export const STATUS_TIMEOUT_MS = 1_000;
/** At the stop of a process: how long NBD connections have to get their outstanding answers. */
export const STOP_NBD_MS = 600;

/** Exports of one datapath. */
export const MAX_EXPORTS = 4_096;
/** Between two attempts to list the attachments while the metadata store does not answer. */
export const ATTACH_RETRY_MS = 250;

/** Largest NBD request: longer ones are refused by the server. Requests above the path's limit are cut into pieces. */
export const MAX_EXPORT_REQUEST_BYTES = 32 << 20;

if (MAX_UNANSWERED > SESSION_WINDOW) throw new Error('limits: what is unanswered has to fit the window of a session');

/** A vdisk whose controller is elsewhere is asked back when the local Stargate was well for so long; each return that does not last doubles that. */
export const DEFAULT_FAILBACK_MS = 10_000;
export const MAX_FAILBACK_HOLD_MS = 600_000;
/** A return lasts when the path stays at the local node for so long. */
export const FAILBACK_KEPT_MS = 60_000;
/** Term floors of which, with each new one, it is asked whether their vdisk is there still: more than come, so that there are less and less of those that are not. */
export const FLOORS_LOOKED_AT = 2;
/** Between two looks at the open paths, and two at the local Stargate while some vdisk would come back to it. */
export const WATCH_INTERVAL_MS = 250;
export const PROBE_INTERVAL_MS = 1_000;
/**
 * A controller takes out a member that does not answer sooner than this. One that does not is cut off, or the metadata is away: a member tells which, since it
 * takes over from a silent controller only.
 */
export const CUT_OFF_AFTER_MS = 800;
/** A controller that is held up is left at most so often: the time doubles while it is still the one. */
export const STUCK_HOLD_FIRST_MS = 2_000;
export const STUCK_HOLD_LAST_MS = 60_000;
