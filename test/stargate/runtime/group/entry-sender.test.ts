import { describe, expect, it } from 'vitest';
import { crc32c } from '@node-rs/crc32';
import type { MemberId } from '../../../../src/wire/replicate.js';
import type { EntryList } from '../../../../src/wire/peers.js';
import { MAX_SENT_ENTRIES } from '../../../../src/stargate/core/replication/limits.js';
import type { Entry } from '../../../../src/stargate/core/replication/entry.js';
import { EntrySender, type EntrySource } from '../../../../src/stargate/runtime/group/entry-sender.js';

const PAGE_BYTES = 4096;
const [CONTROLLER, MEMBER] = ['node-1/store/1', 'node-2/store/1'] as MemberId[] as [MemberId, MemberId];

/** A log of which the first entry is on the disk alone, and the others in memory. A read of the log ends when the test says so. */
class Rig {
  readonly sent: number[] = [];
  #readDone: () => void = () => undefined;
  readonly #bytes = new Uint8Array(PAGE_BYTES);
  readonly entries: readonly Entry[] = Array.from({ length: MAX_SENT_ENTRIES }, (_, i) => ({
    ...{ seq: i + 1, creationTerm: 1, prevHash: 0, hash: i + 1, crc: crc32c(this.#bytes) },
    body: { payloadBytes: PAGE_BYTES, lsn: (i + 1) * PAGE_BYTES },
  }));

  readonly sender = new EntrySender(
    {
      vdiskId: 'v',
      parts: {
        ports: { arena: { bytes: this.#bytes }, buffers: { take: () => 0, give: () => undefined } },
        headers: { write: (_i: number, _log: unknown, { seq }: Entry) => seq },
        sender: {
          send: (_to: string, _vdiskId: string, _head: unknown, list: EntryList) => {
            for (let i = 0; i < list.count; i++) this.sent.push(list.headerOffset[i]!);
            return true;
          },
        },
      },
      stream: {
        usage: { durableLsn: 1 << 30 },
        readPayload: (_lsn: number, bytes: number, _place: number, { onRead }: { onRead: (tag: number, result: number) => void }) => {
          this.#readDone = () => onRead(0, bytes);
        },
      },
      log: { oldestNeededLsn: 0 },
      isHere: () => true,
      placeOf: (seq: number) => (seq === 1 ? -1 : 0),
    } as unknown as EntrySource,
    MEMBER,
  );

  endRead(): void {
    this.#readDone();
  }
}

describe('the entries that a member is sent', () => {
  it('wait for one that is read from the log, each in a message of its own, and come in order', () => {
    const rig = new Rig();
    const { entries, sender, sent } = rig;
    for (const entry of entries)
      sender.send({ kind: 'append', from: CONTROLLER, term: 1, entries: [entry], committed: 0, committedHash: 0 });
    expect(sent).toEqual([]);
    rig.endRead();
    expect(sent).toEqual(entries.map(({ seq }) => seq));
  });
});
