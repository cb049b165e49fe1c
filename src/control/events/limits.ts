/** Events that a process keeps. */
export const MAX_EVENTS = 2_048;
/** Of one answer. */
export const MAX_EVENTS_ANSWERED = 512;
/** Clients that wait for the next event; more are answered at once. */
export const MAX_FOLLOWERS = 64;
/** So long an answer is held back until there is something. */
export const MAX_WAIT_MS = 25_000;
/** Characters of a cause or an action. */
export const MAX_TEXT = 1_000;
