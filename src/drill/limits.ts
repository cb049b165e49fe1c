/** Everything is read and written in blocks of this size. */
export const BLOCK_BYTES = 4_096;

/** Each write and most reads of the load go to one of so many blocks: they overlap there. */
export const HOT_BLOCKS = 32;
/** The others to one of these, the hot ones among them. */
export const WIDE_BLOCKS = 4_096;
/** The last of them are written once, and only read from then on. */
export const COLD_BLOCKS = 256;
export const HOT_SHARE = 0.7;
export const READ_SHARE = 0.35;

export const CONNECTIONS = 2;
/** Requests outstanding on each connection. */
export const QUEUE_DEPTH = 16;

/** Between two attempts of a lost connection. */
export const RECONNECT_MS = 10;
/** After the load of a round has ended: when none of its last requests has been answered for so long, they count as stuck. */
export const DRAIN_STALL_MS = 60_000;
/** A lost connection has to come back in this time. */
export const RECONNECT_TIMEOUT_MS = 60_000;

/** A node's answer to a question of the drill. */
export const ASK_TIMEOUT_MS = 2_000;
/** Between two looks at the cluster's health. */
export const HEALTH_POLL_MS = 100;
/** Start of a cluster, or of a node of it. */
export const START_TIMEOUT_MS = 120_000;
export const STOP_TIMEOUT_MS = 60_000;
/** Copies that are not whole before the load, or after a fault, have failed to become so when nothing has changed for so long. */
export const HEALTHY_STALL_MS = 15_000;
export const REDUNDANCY_STALL_MS = 60_000;

/** Violations, errors and disconnects that a round's report describes; all are counted. */
export const MAX_DESCRIBED = 20;
/** Operations that are told with a violation: those of its block that may have to do with it. */
export const MAX_TOLD_OPERATIONS = 40;
/** Operations of one round. */
export const MAX_OPERATIONS = 8_000_000;

/** Width of a step of the latency timeline. */
export const TIMELINE_STEP_MS = 10;

/** A hung process stands still for so long: longer than any timeout that has to notice it. */
export const HANG_MS = 4_000;
/** A killed one stays away for so long. */
export const HOLD_MS = 1_500;
export const FLAPS = 3;
export const FLAP_REST_MS = 300;
/** Hysteresis of the return to a node that is back. */
export const FAILBACK_TIMEOUT_MS = 90_000;

/** A full disk stays full for so long: the log fills up in that time. */
export const FULL_DISK_MS = 6_000;
/** File system of a node whose disk is to be full. */
export const SMALL_DISK_BYTES = 3 * 2 ** 30;

/** Blocks of each copy of which a bit is flipped. */
export const ROT_BLOCKS = 24;
/** What goes on by itself has come to a stop when nothing of it has changed for so long: the scrubber rests a minute between two passes. */
export const STALL_MS = 150_000;

/** How often a connection of the datapath goes deaf: until the others have had so many answers, on a slow machine after so long at the latest; and how long it is well between. */
export const DEAF_TIMES = 16;
export const DEAF_ANSWERS = 64;
export const DEAF_LEAST_MS = 60;
export const DEAF_MOST_MS = 2_000;
export const DEAF_POLL_MS = 10;
export const DEAF_REST_MS = 200;

/** The last pass of a load beside, after the last fault: some thousand requests. */
export const LAST_PASS_MS = 300_000;
/** A program that helps to make what a guest boots; the longest is the download of its kernel. */
export const PROGRAM_TIMEOUT_MS = 180_000;
/** Until a guest has booted and made its file system, on processors that are all taken. */
export const GUEST_BOOT_MS = 240_000;
/** What a guest writes is kept up to so much. */
export const MAX_GUEST_OUTPUT_CHARS = 1 << 20;
/** How long QEMU holds a guest's requests back while their NBD server is away. */
export const GUEST_RECONNECT_SEC = 600;
