/**
 * Which stream of the node holds the vdisk's log. Never changes: the number of streams is fixed when the data directory is made. The first
 * 32 bits of a random UUID spread evenly.
 */
export function streamOf(vdiskId: string, streams: number): number {
  return Number.parseInt(vdiskId.slice(0, 8), 16) % streams;
}

/** Which shard runs the stream: may change from start to start. */
export function shardOfStream(stream: number, shards: number): number {
  return stream % shards;
}

/** The shard of a node with so many streams and shards that a message about the vdisk is for. */
export function shardOfVdisk(vdiskId: string, streams: number, shards: number): number {
  return shardOfStream(streamOf(vdiskId, streams), shards);
}

/** "host:port" of a node's record; an IPv6 address stands in brackets. */
export function parseTcp(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}
