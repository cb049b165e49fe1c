import assert from 'node:assert/strict';

/** A member that has not answered for so long is removed (rule 9): shorter than the time after which a datapath suspects its controller. */
export const MEMBER_TIMEOUT_MS = 700;
/** Between two ticks: after a longer time this process itself has stood still. */
export const SLEPT_MS = 300;
/** What was sent and brought no progress is sent again. */
export const RESEND_MS = 120;
/** A member that has everything hears so often that its controller is there. */
export const HEARTBEAT_MS = 250;
/** A proposal whose outcome is unknown is issued again. */
export const REISSUE_MS = 200;
/** A controller whose node stops, and whose successor has not come, asks again. */
export const HANDOVER_RETRY_MS = 300;
/** And another one, if there is one, after so long. */
export const HANDOVER_PATIENCE_MS = 1_500;
/** A controller that has asked another one to take over, and sees that it has, serves on for so long until it is sealed. */
export const SEAL_PATIENCE_MS = 200;
/** A replica without a place in its group asks for so long whether its tail may go. It acknowledges nothing meanwhile. */
export const LET_GO_PATIENCE_MS = 400;
/** With `durability: flush`: so long a member that has lost its memory waits for those that may have theirs, and give no sign of life, before it takes over without them. */
export const COLD_PATIENCE_MS = 10_000;
/** Entries of one append message. */
export const MAX_APPEND_ENTRIES = 16;
/** Entries under way to one member: one that catches up has to be faster than what is written meanwhile. */
export const MAX_SENT_ENTRIES = 128;
/** Entries that are not committed: then writes wait. */
export const MAX_UNCOMMITTED_ENTRIES = 1024;
/** Members of a group, learners too. */
export const MAX_PEERS = 8;

/**
 * So far behind the end of a replica's log the next history of its vdisk begins (rule 11): no entry of it has the number of one that a lost member may have written on the
 * former one. That member would have to have taken 100,000 changes a second for a week. Numbers have 48 bits on disk, so there is room for thousands of histories.
 */
export const HISTORY_JUMP = 2 ** 36;
export const MAX_SEQ = 2 ** 48 - 1;

assert(MAX_APPEND_ENTRIES <= MAX_SENT_ENTRIES);
assert(SLEPT_MS * 2 < MEMBER_TIMEOUT_MS, 'a member must not be taken for silent when it is not asked');
assert(LET_GO_PATIENCE_MS + SLEPT_MS <= MEMBER_TIMEOUT_MS, 'a member that asks by mistake must not be taken for silent');
assert(RESEND_MS * 3 < MEMBER_TIMEOUT_MS, 'a lost message alone must not cost a member');
