/** Most transfers that wait for a buffer of one size class. */
export const MAX_BUFFER_WAITERS = 8_192;
/** Most pages of one shard's cache: 256 GiB. */
export const MAX_CACHE_PAGES = 1 << 26;
