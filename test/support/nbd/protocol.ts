/**
 * Constants of the NBD protocol as the raw client uses them (doc/proto.md of NetworkBlockDevice/nbd).
 * Written out here on purpose: a test client that shared the product's constants would share its mistakes.
 */
export const NBD_MAGIC = 0x4e42444d41474943n; // "NBDMAGIC"
export const OPTION_MAGIC = 0x49484156454f5054n; // "IHAVEOPT"
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;

export const FLAG_FIXED_NEWSTYLE = 1;
export const FLAG_NO_ZEROES = 2;

export const OPT_GO = 7;
export const REP_ACK = 1;
export const REP_INFO = 3;
export const INFO_EXPORT = 0;

export const CMD_READ = 0;
export const CMD_WRITE = 1;
export const CMD_DISC = 2;
export const CMD_FLUSH = 3;
export const CMD_TRIM = 4;
export const CMD_WRITE_ZEROES = 6;

export const CMD_FLAG_FUA = 1;
export const CMD_FLAG_NO_HOLE = 2;

export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
