/** Largest change or read of a client. */
export const MAX_OPERATION_BYTES = 96 << 10;
/** Payloads and answers on their way, of all clients and their connections. */
export const BUFFERS = 256;
/** Tables of a simulated engine. */
export const ENGINE_CAPACITY = { operations: 1_024, slots: 128 };
/** Of a node: few buffers and pages, so that they run out. */
export const TRANSFER_BUFFERS = [24, 12, 2] as const;
/** Of a node with replicas: what is not committed is kept here. */
export const RETAINED_BUFFERS = [48, 16, 4] as const;
/** Of one world. */
export const MAX_NODES = 4;
export const MAX_CACHE_PAGES = 256;
export const MAX_STREAMS = 2;
/** Longest time a store's transaction takes to become durable. */
export const MAX_COMMIT_NS = 3_000_000;
/** Longest time a message takes between a client and its node. */
export const MAX_MESSAGE_NS = 60_000;
/** Time in which a healthy node has to answer everything: virtual. */
export const MAX_ANSWER_NS = 60e9;
/** Events of one life before it counts as one without end. */
export const MAX_EVENTS = 2_000_000;
