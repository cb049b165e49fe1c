import { crc32c } from '@node-rs/crc32';
import type { EntryBody, EntryMaker } from '../../../src/stargate/core/replication/entry.js';

const header = Buffer.alloc(32);

/** A write that nobody else does: the tag is all it says. */
export function taggedBody(tag: string): EntryBody {
  return { crc: crc32c(tag), body: tag };
}

/** What the codec does, over a short header. */
export const makeEntry: EntryMaker = (seq, creationTerm, prevHash, { crc, body }) => {
  header.writeDoubleLE(seq, 0);
  header.writeDoubleLE(creationTerm, 8);
  header.writeUInt32LE(prevHash, 16);
  header.writeUInt32LE(crc, 20);
  return { seq, creationTerm, crc, prevHash, hash: crc32c(header), body };
};
