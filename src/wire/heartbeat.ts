import { resetHeader, FrameType, type FrameHeader } from './frame.js';
import type { Blocker } from './path.js';

/**
 * HEARTBEAT, client → server every 250 ms, and its reply, which passes through the serving shard: header only.
 *
 * ```
 * HEARTBEAT        clientSeq: number of the heartbeat on this connection
 * HEARTBEAT_REPLY  clientSeq: echoed; lowWater: age in µs of the oldest request not yet answered (0: none); term;
 *                  status: what holds that request up (Blocker)
 * ```
 * So a controller that hangs on a disk shows itself although its connection is alive.
 */
export function heartbeat(header: FrameHeader, number: number): FrameHeader {
  resetHeader(header, FrameType.heartbeat).clientSeq = number;
  return header;
}

export function heartbeatReply(header: FrameHeader, number: number, oldestAgeUs: number, blocker: Blocker, term: number): FrameHeader {
  resetHeader(header, FrameType.heartbeatReply).clientSeq = number;
  header.lowWater = oldestAgeUs;
  header.term = term;
  header.status = blocker;
  return header;
}
