/** Longest time a message takes between two nodes, or to the metadata store, where nothing is wrong. */
export const MAX_PEER_NS = 400_000;
export const MAX_META_NS = 3_000_000;
/** As the production links have it: a connection of which nothing is heard for so long is closed … */
export const PEER_SILENT_NS = 700e6;
/** … and one of a datapath. */
export const PATH_SILENT_NS = 1_000e6;
/** Between two looks whether a connection is silent. */
export const WATCH_NS = 100e6;
/** Before a link that broke is made again. */
export const MAX_RELINK_NS = 250e6;
/** Messages on their way from one node to another: of more, the link says that it is full. */
export const MAX_UNDER_WAY = 128;
/** How long a request to the metadata store is waited for. */
export const META_TIMEOUT_NS = 500e6;
/** What could not be read from the metadata store is read again after this time. */
export const META_RETRY_NS = 500e6;
/** Longest time until a change of the metadata is noticed. */
export const MAX_WATCH_NS = 30e6;
/** How often a node says in the metadata that it lives, and hears who else does; and without saying so for how long it counts as gone. */
export const BEAT_NS = 1_000e6;
export const BEAT_MISSED_NS = 4_000e6;
/** How often a datapath looks whether nodes and groups have changed. */
export const TOPOLOGY_NS = 250e6;
/** A healed cluster has to serve everything again, with all replicas: virtual time. */
export const RECOVERY_NS = 90e9;
/** How long an answer of a vdisk's controller to whoever resizes it is waited for. */
export const COMMAND_SILENT_NS = 600e6;
/** A size that is known to be the vdisk's is in the metadata after this time, where nothing is wrong any more. */
export const RECORDED_NS = 10e9;
