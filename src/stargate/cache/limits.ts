/** Most transfers that wait for a buffer of one size class: each vdisk of the shard bounds what it reads at a time. */
export const MAX_BUFFER_WAITERS = 1 << 20;
/** Share of each size class that only drains may take. */
export const RESERVED_SHARE = 1 / 8;
/** Most pages of one shard's cache: 256 GiB. */
export const MAX_CACHE_PAGES = 1 << 26;
