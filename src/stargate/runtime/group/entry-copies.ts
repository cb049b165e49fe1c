import { MAX_IO_BYTES } from '../../../wire/path.js';
import { encodeCopies, type WantEntries } from '../../core/replication/copy-messages.js';
import type { Entry } from '../../core/replication/entry.js';
import { bodyOf } from './entries.js';
import type { EntrySender, EntrySource } from './entry-sender.js';

const PAGE_BYTES = 4096;

/** Answers whoever lacks entries of its log (rule 5). `found`: those that end with the wanted one, oldest first; none: that is said. */
export function giveEntries(source: EntrySource, sender: EntrySender, { id }: WantEntries, found: readonly Entry[]): void {
  const data = encodeCopies({ kind: 'haveEntries', id });
  const entries = newest(found);
  if (entries.length > 0) sender.send({ kind: 'copies', term: 0, data, entries });
  else source.parts.sender.send(sender.to, source.vdiskId, { kind: 'copies', term: 0, data }, null);
}

/** As many as one message carries. */
function newest(entries: readonly Entry[]): readonly Entry[] {
  let from = entries.length;
  for (let bytes = 0; from > 0; from--) {
    bytes += Math.ceil(bodyOf(entries[from - 1]!).payloadBytes / PAGE_BYTES) * PAGE_BYTES;
    if (bytes > MAX_IO_BYTES) break;
  }
  return entries.slice(from);
}
