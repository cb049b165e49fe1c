/** Most shards a process runs. */
export const MAX_SHARDS = 64;
/** Messages that wait in one direction between two shards; more are kept by the sender until there is room. */
export const MAILBOX_MESSAGES = 4_096;
/** Numbers in a mailbox message: its kind and fifteen fields. */
export const MESSAGE_CELLS = 16;
/** Messages a sender keeps for one receiver before that is taken for our bug. */
export const MAX_KEPT_MESSAGES = 1 << 20;
/** How long the shards of a process have to end after they were told to. */
export const STOP_DEADLINE_MS = 1_900;
