/** Between two signs of life to the system; without one for thirty seconds it undoes what was begun. */
export const RENEW_INTERVAL_MS = 3_000;
/** Of a stream: what is read, and written, at once; and how many of those are under way. */
export const CHUNK_BYTES = 1 << 20;
export const MAX_CHUNKS_IN_FLIGHT = 16;
/** Of what qemu-img says of one image. */
export const MAX_OUTPUT_BYTES = 64 << 20;
/** Requests that qemu-img has under way. It takes no more than 16. */
export const QEMU_REQUESTS = 16;
/** Where less of a quota is left than this, a copy that failed has failed for want of it: a write of qemu-img's, and some. */
export const SPENT_BYTES = 4 << 20;
/** The same of a node's file system: a segment of its log. */
export const FULL_BYTES = 64 << 20;
