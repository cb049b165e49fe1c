/** Streams that a new data directory gets: fixed for its life. */
export const NEW_STREAMS = 2;
export const DEFAULT_SHARDS = 2;
export const DEFAULT_CACHE_BYTES = 512 << 20;
export const LEAST_CACHE_BYTES = 16 << 20;
export const DEFAULT_SCRUB_BYTES_PER_SECOND = 4 << 20;
export const LEAST_SCRUB_BYTES_PER_SECOND = 64 << 10;
/** Longer than a node is away that is restarted, and others have taken the place of: its copy may be the last one yet. */
export const DEFAULT_KEEP_SURPLUS_MS = 10 * 60_000;
export const DEFAULT_OPLOG_BYTES = 2 * 2 ** 30;
export const LEAST_OPLOG_BYTES = 512 << 20;
/** Memory of a shard's connections, logs and transfers, beside the cache. It is taken from the system as it is touched. */
export const SHARD_MEMORY_BYTES = 256 << 20;
export const CREATE_TIMEOUT_MS = 30_000;
/** So long a controller has to carry out what the management asks of it; that includes a takeover. */
export const COMMAND_TIMEOUT_MS = 8_000;
/** At a stop: so long other nodes have to take over what this one controls. */
export const LEAVE_TIMEOUT_MS = 1_200;
/** An import or export whose client has not been heard of for so long is ended; a client renews its lease each three seconds. */
export const LEASE_LAPSE_MS = 30_000;
export const LEASE_LOOK_MS = 5_000;
export const STATUS_TIMEOUT_MS = 2_000;
/** Between two lines that tell how far a start has come. */
export const PROGRESS_INTERVAL_MS = 1_000;
/** A start that tells how far it has come asks its service manager for so much time more. */
export const START_STEP_MS = 120_000;
/** From the wish to stop to the end of the process. */
export const STOP_TIMEOUT_MS = 5_000;
/** A second signal within this time is the same wish. */
export const SAME_SIGNAL_MS = 500;
/** NBD connections of one shard. Each has 288 KiB of its own. */
export const MAX_NBD_CONNECTIONS = 1_024;
/** Replacing a datapath. Between two processes of which one starts: what is asked of the other one's main thread. */
export const HANDOVER_ANSWER_MS = 5_000;
/** The next process starts meanwhile, and this one serves. */
export const HANDOVER_START_MS = 120_000;
/** No request is taken on meanwhile: what is outstanding has to be answered by then, or this process serves on. */
export const HANDOVER_PAUSE_MS = 5_000;
/** The process before has said that it is done, and ends. */
export const HANDOVER_END_MS = 10_000;
/** Of one message between the two. */
export const MAX_HANDOVER_BYTES = 16 << 20;
/** All metadata is read that often, for records that are damaged. */
export const METADATA_CHECK_MS = 20_000;
/** Of `gatepath up --nodes`. */
export const MOST_NODES = 16;
