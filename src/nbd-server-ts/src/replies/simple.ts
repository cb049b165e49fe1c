import { SIMPLE_REPLY_BYTES, SIMPLE_REPLY_MAGIC } from '../protocol/constants.js';

// Simple reply, proto.md "Simple reply message":
//   u32 0x67446698 · u32 errno · u64 cookie · (READ without error: data)

/** Writes the 16 bytes at `at` and returns how many they are. */
export function encodeSimpleReply(view: DataView, at: number, errno: number, cookieHigh: number, cookieLow: number): number {
  view.setInt32(at, SIMPLE_REPLY_MAGIC);
  view.setInt32(at + 4, errno);
  view.setInt32(at + 8, cookieHigh);
  view.setInt32(at + 12, cookieLow);
  return SIMPLE_REPLY_BYTES;
}
