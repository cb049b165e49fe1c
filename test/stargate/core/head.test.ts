import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Packr } from 'msgpackr';
import { MAX_CONTROL_BYTES } from '../../../src/stargate/core/controller.js';
import {
  decodeAttachMode,
  decodeHead,
  decodePromise,
  decodeSessionOpen,
  encodeRecord,
  type HeadRecord,
} from '../../../src/stargate/core/head.js';
import { DEDUPE_WINDOW, MAX_ENDED_DATAPATHS, MAX_PARTIAL_REQUESTS, MAX_SESSIONS } from '../../../src/stargate/core/limits.js';
import { RequestState, SessionTable } from '../../../src/stargate/core/sessions.js';

const counter = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const sessionRecord = fc.record({
  id: counter,
  generation: counter,
  datapathUuid: fc.uuid(),
  shard: fc.integer({ min: 0, max: 65_535 }),
  lowWater: counter,
  committed: fc.uint8Array({ maxLength: DEDUPE_WINDOW / 8 }),
  partial: fc.array(fc.tuple(counter, counter), { maxLength: MAX_PARTIAL_REQUESTS }),
});
const headRecord: fc.Arbitrary<HeadRecord> = fc.record({
  version: fc.constant(1 as const),
  sizeBytes: counter,
  layer: counter,
  drainedSeq: counter,
  drainedHash: counter,
  sessions: fc.record({
    generation: counter,
    ended: fc.array(fc.uuid(), { maxLength: 5 }),
    shared: fc.option(fc.record({ generation: counter, ended: fc.array(fc.uuid(), { maxLength: 5 }) })),
    sessions: fc.array(sessionRecord, { maxLength: 5 }),
  }),
});

describe('control records', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(headRecord, head => {
        // Decoded bytes may be a Buffer.
        const plain = (value: HeadRecord): unknown =>
          JSON.parse(JSON.stringify(value, (_key, one: unknown) => (one instanceof Uint8Array ? [...one] : one)));
        const found = decodeHead(encodeRecord(head));
        found.sessions.sessions.forEach(one => expect(one.committed).toBeInstanceOf(Uint8Array));
        expect(plain({ ...found, sessions: plainSessions(found) })).toEqual(plain({ ...head, sessions: plainSessions(head) }));
      }),
    );
    fc.assert(
      fc.property(fc.record({ generation: counter, datapathUuid: fc.uuid(), shard: counter }), record => {
        expect(decodeSessionOpen(encodeRecord(record))).toEqual(record);
      }),
    );
    fc.assert(
      fc.property(fc.record({ generation: counter, mode: fc.constantFrom('shared' as const, 'exclusive' as const) }), record => {
        expect(decodeAttachMode(encodeRecord(record))).toEqual(record);
      }),
    );
    fc.assert(
      fc.property(fc.record({ term: counter, controller: fc.string(), nonce: fc.string() }), record => {
        expect(decodePromise(encodeRecord(record))).toEqual(record);
      }),
    );
  });

  const good: HeadRecord = {
    version: 1,
    sizeBytes: 1 << 30,
    layer: 1,
    drainedSeq: 5,
    drainedHash: 77,
    sessions: { generation: 0, ended: [], shared: null, sessions: [] },
  };

  it('of a head from before attachments could be shared: none is', () => {
    const { shared: _shared, ...sessions } = good.sessions;
    expect(decodeHead(new Packr({ useRecords: false }).pack({ ...good, sessions }))).toEqual(good);
  });

  it.each([
    ['a newer version', { ...good, version: 2 }],
    ['a negative number', { ...good, drainedSeq: -1 }],
    ['no whole number', { ...good, layer: 1.5 }],
    ['a field that is missing', { ...good, sessions: undefined }],
    [
      'a window that is too long',
      {
        ...good,
        sessions: {
          ...good.sessions,
          sessions: [
            {
              id: 1,
              generation: 1,
              datapathUuid: 'a',
              shard: 0,
              lowWater: 1,
              committed: new Uint8Array(DEDUPE_WINDOW / 8 + 1),
              partial: [],
            },
          ],
        },
      },
    ],
  ])('are refused with %s', (_name, record) => {
    expect(() => decodeHead(new Packr({ useRecords: false }).pack(record))).toThrow();
  });

  it('are refused when they are cut short, and never end the process', () => {
    const bytes = encodeRecord(good);
    for (let length = 0; length < bytes.length; length++) expect(() => decodeHead(bytes.subarray(0, length))).toThrow();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), junk => {
        let head: HeadRecord | null = null;
        try {
          head = decodeHead(junk);
        } catch {
          // Refused.
        }
        expect(head).toBeNull();
      }),
    );
  });

  it('fit one entry with the fullest table of sessions there is', () => {
    const table = new SessionTable();
    for (let i = 0; i < MAX_ENDED_DATAPATHS; i++) table.open(i + 1, { generation: 1, datapathUuid: uuid(i), shard: 0 });
    const start = 2 ** 50;
    for (let shard = 0; shard < MAX_SESSIONS; shard++) {
      table.open(start + shard, { generation: 2 ** 52, datapathUuid: uuid(9_999), shard: 65_535 - shard });
      const session = table.get(start + shard)!;
      session.raiseLowWater(start);
      for (let n = 0; n < DEDUPE_WINDOW; n += 2) session.set(start + n, RequestState.committed);
      for (let n = 0; n < MAX_PARTIAL_REQUESTS; n++) session.partsInLog(start + 2 * n + 1, 1, 3);
    }
    expect(table.size).toBe(MAX_SESSIONS);
    const head = { ...good, drainedSeq: 2 ** 48, sizeBytes: 2 ** 52, sessions: table.record() };
    const bytes = encodeRecord(head);
    expect(bytes.length).toBeLessThan(MAX_CONTROL_BYTES / 2);
    const again = new SessionTable();
    again.restore(decodeHead(bytes).sessions);
    expect(again.get(start + 7)!.stateOf(start + 4)).toBe(RequestState.committed);
    expect(again.get(start + 7)!.stateOf(start + 5)).toBe(RequestState.unknown);
  });
});

function plainSessions({ sessions }: HeadRecord) {
  return { ...sessions, sessions: sessions.sessions.map(one => ({ ...one, committed: Uint8Array.from(one.committed) })) };
}

const uuid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;
