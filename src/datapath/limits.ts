import { SESSION_WINDOW } from '../wire/limits.js';

/** Requests of one session that are sent or held for replay. */
export const MAX_UNANSWERED = 2_048;
/** Requests behind those, not numbered yet. The front end bounds what it takes in below the sum (connections × requests of each); more is its bug. */
export const MAX_WAITING = 65_536;

/** Delay before a path is opened again: doubles from the first to the last. */
export const RECONNECT_FIRST_MS = 5;
export const RECONNECT_LAST_MS = 250;

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
