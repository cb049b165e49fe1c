import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '@node-rs/crc32';
import type { EntryKind } from '../../../src/stargate/core/ports.js';
import {
  batchSeed,
  DecodedEntry,
  decodeBatchHeader,
  decodeEntryHeader,
  decodeSegmentHeader,
  emptyBatchHeader,
  emptySegmentHeader,
  encodeBatchHeader,
  encodeEntryHeader,
  encodeSegmentHeader,
  getU64,
  sealBatch,
  setU64,
  type SegmentHeader,
} from '../../../src/stargate/oplog/codec.js';
import { BatchAt, EntryAt, OPLOG_VERSION, SegmentAt } from '../../../src/stargate/oplog/layout.js';
import { MAX_BATCH_PAYLOAD_BYTES, PAGE_BYTES } from '../../../src/stargate/oplog/limits.js';
import { formatUuid, parseUuid } from '../../../src/stargate/oplog/vdisk-log.js';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u53 = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1));
const segment: fc.Arbitrary<SegmentHeader> = fc.record({
  uuid0: u32,
  uuid1: u32,
  uuid2: u32,
  uuid3: u32,
  reuse: u53,
  segmentBytes: u53,
  startLsn: u53,
  tailLsn: u53,
});
const memory = () => {
  const bytes = new Uint8Array(4 * PAGE_BYTES).fill(0xee);
  return { bytes, view: new DataView(bytes.buffer) };
};

describe('the codec', () => {
  it('keeps integers below 2^53 exact', () => {
    const { view } = memory();
    fc.assert(
      fc.property(u53, value => {
        setU64(view, 5, value);
        expect(getU64(view, 5)).toBe(value);
        expect(view.getBigUint64(5, true)).toBe(BigInt(value));
      }),
    );
  });

  it('keeps segment headers, and notices every changed byte', () => {
    fc.assert(
      fc.property(segment, fc.nat(SegmentAt.tailLsn + 7), fc.integer({ min: 1, max: 255 }), (header, at, change) => {
        const { bytes, view } = memory();
        encodeSegmentHeader(bytes, view, PAGE_BYTES, header);
        const found = emptySegmentHeader();
        expect(decodeSegmentHeader(bytes, view, PAGE_BYTES, found)).toBe('ok');
        expect(found).toEqual(header);
        bytes[PAGE_BYTES + at]! ^= change;
        expect(decodeSegmentHeader(bytes, view, PAGE_BYTES, found)).not.toBe('ok');
      }),
    );
  });

  it('tells a newer version from damage, and what is not ours from both', () => {
    const { bytes, view } = memory();
    encodeSegmentHeader(bytes, view, 0, emptySegmentHeader());
    view.setUint32(SegmentAt.version, OPLOG_VERSION + 1, true);
    expect(decodeSegmentHeader(bytes, view, 0, emptySegmentHeader())).toBe('newer');
    view.setUint32(SegmentAt.magic, 1, true);
    expect(decodeSegmentHeader(bytes, view, 0, emptySegmentHeader())).toBe('foreign');
  });

  it('keeps entry headers, and notices every changed byte', () => {
    const entryFields = fc.record({
      kind: fc.integer({ min: 1, max: 12 }) as fc.Arbitrary<EntryKind>,
      seq: u53,
      creationTerm: u53,
      sessionId: u53,
      clientSeq: u53,
      part: u32,
      parts: u32,
      offsetBytes: u53,
      lengthBytes: u53,
    });
    const vdisk = fc.record({ historyId: u32, id0: u32, id1: u32, id2: u32, id3: u32, flags: u32 });
    fc.assert(
      fc.property(entryFields, vdisk, u32, fc.nat(1 << 20), u32, fc.nat(127), (fields, identity, prevHash, bytes, payloadCrc, damage) => {
        const { bytes: area, view } = memory();
        const at = 256;
        const hash = encodeEntryHeader(view, at, area.subarray(at, at + EntryAt.headerCrc), identity, fields, prevHash, bytes, payloadCrc);
        const found = new DecodedEntry();
        expect(decodeEntryHeader(area, view, at, found)).toBe(true);
        expect(found).toMatchObject({ ...fields, ...identity, prevHash, payloadBytes: bytes, payloadCrc, hash });
        area[at + damage]! ^= 0x10;
        expect(decodeEntryHeader(area, view, at, found)).toBe(false);
      }),
    );
  });

  it('keeps batch headers; a batch of another segment, use or position is none', () => {
    const pages = fc.nat(MAX_BATCH_PAYLOAD_BYTES / PAGE_BYTES);
    fc.assert(
      fc.property(
        segment,
        u53,
        u53,
        fc.nat(287),
        pages,
        u32,
        u32,
        fc.nat(4095),
        (used, lsn, durable, entries, page, crc, trailer, damage) => {
          const { bytes, view } = memory();
          const durableLsn = Math.min(durable, lsn);
          const seed = batchSeed(used);
          encodeBatchHeader(view, PAGE_BYTES, used, lsn, durableLsn, 1, entries, page * PAGE_BYTES, crc, trailer);
          sealBatch(view, PAGE_BYTES, bytes.subarray(PAGE_BYTES + BatchAt.flags, 2 * PAGE_BYTES), seed);
          const found = emptyBatchHeader();
          const decode = (of: SegmentHeader, at: number) => decodeBatchHeader(bytes, view, PAGE_BYTES, of, batchSeed(of), at, found);
          expect(decode(used, lsn)).toBe(true);
          expect(found).toMatchObject({
            flags: 1,
            lsn,
            durableLsn,
            entries,
            payloadBytes: page * PAGE_BYTES,
            previousCrc: crc,
            trailerCrc: trailer,
          });
          expect(decode({ ...used, reuse: used.reuse + 1 }, lsn)).toBe(false);
          expect(decode({ ...used, uuid2: used.uuid2 ^ 1 }, lsn)).toBe(false);
          expect(decode(used, lsn + PAGE_BYTES)).toBe(false);
          bytes[PAGE_BYTES + damage]! ^= 4;
          expect(decode(used, lsn)).toBe(false);
        },
      ),
    );
  });

  it('turns vdisk ids into words and back, and refuses what is none', () => {
    fc.assert(fc.property(fc.uuid(), id => void expect(formatUuid(...parseUuid(id))).toBe(id)));
    expect(() => parseUuid('demo')).toThrow(/no vdisk id/);
  });

  it('has a checksum that goes on from piece to piece', () => {
    const bytes = new Uint8Array(10_000).map((_, i) => i);
    expect(crc32c(bytes.subarray(4096), crc32c(bytes.subarray(0, 4096)))).toBe(crc32c(bytes));
    // RFC 3720, B.4: 32 bytes of zeroes.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  });
});
