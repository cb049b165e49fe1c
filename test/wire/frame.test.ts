import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createHeader, decodeHeader, encodeHeader, FRAME_MAGIC, FrameType, getNumber, setNumber } from '../../src/wire/frame.js';
import { HEADER_BYTES } from '../../src/wire/limits.js';

const u8 = fc.integer({ min: 0, max: 255 });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u53 = fc.maxSafeNat();

const header = fc.record({
  type: fc.constantFrom(...Object.values(FrameType)),
  op: u8,
  status: u8,
  flags: u8,
  payloadBytes: fc.constant(0),
  tag: u32,
  clientSeq: u53,
  lowWater: u53,
  term: u53,
  offsetBytes: u53,
  lengthBytes: u32,
  session: u32,
});

function encoded(fields: Partial<ReturnType<typeof createHeader>> = {}): DataView {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  encodeHeader(view, 0, { ...createHeader(), type: FrameType.ioRequest, ...fields });
  return view;
}

describe('frame header', () => {
  it('is read back as it was written, at any position', () => {
    fc.assert(
      fc.property(header, fc.nat(100), (fields, at) => {
        const view = new DataView(new ArrayBuffer(at + HEADER_BYTES));
        encodeHeader(view, at, fields);
        const back = createHeader();
        expect(decodeHeader(view, at, back)).toBe(null);
        expect(back).toEqual(fields);
      }),
    );
  });

  it('never throws on any bytes, and accepts only what it would have written itself', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: HEADER_BYTES, maxLength: HEADER_BYTES }), fc.boolean(), (bytes, withMagic) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        if (withMagic) view.setUint32(0, FRAME_MAGIC, true);
        const back = createHeader();
        if (decodeHeader(view, 0, back) !== null) return;
        const again = new DataView(new ArrayBuffer(HEADER_BYTES));
        encodeHeader(again, 0, back);
        expect(new Uint8Array(again.buffer)).toEqual(bytes);
      }),
      { numRuns: 1_000 },
    );
  });

  it('keeps its layout', () => {
    const view = encoded({ op: 1, status: 2, flags: 3, payloadBytes: 4096, tag: 5, clientSeq: 2 ** 40 + 6, lengthBytes: 4096, session: 7 });
    expect(Buffer.from(view.buffer).toString('hex')).toBe(
      '47505731' + '10010203' + '00100000' + '05000000' + '0600000000010000' + '00'.repeat(24) + '00100000' + '07000000' + '00'.repeat(8),
    );
  });

  it.each([
    ['ERR_FRAME_MAGIC', (view: DataView) => view.setUint32(0, FRAME_MAGIC ^ 1, true)],
    ['ERR_FRAME_TYPE', (view: DataView) => view.setUint8(4, 0)],
    ['ERR_FRAME_TYPE', (view: DataView) => view.setUint8(4, 255)],
    ['ERR_FRAME_LENGTH', (view: DataView) => view.setUint32(8, (1 << 20) + 1, true)],
    ['ERR_FRAME_NUMBER', (view: DataView) => view.setUint32(20, 2 ** 21, true)],
    ['ERR_FRAME_NUMBER', (view: DataView) => view.setUint32(44, 0xffff_ffff, true)],
    ['ERR_FRAME_RESERVED', (view: DataView) => view.setUint8(63, 1)],
  ])('refuses with %s', (fault, spoil) => {
    const view = encoded();
    expect(decodeHeader(view, 0, createHeader())).toBe(null);
    spoil(view);
    expect(decodeHeader(view, 0, createHeader())).toBe(fault);
  });

  it('carries numbers up to 2^53 - 1', () => {
    const view = new DataView(new ArrayBuffer(8));
    fc.assert(
      fc.property(u53, value => {
        setNumber(view, 0, value);
        expect(getNumber(view, 0)).toBe(value);
        expect(Number(view.getBigUint64(0, true))).toBe(value);
      }),
    );
    setNumber(view, 0, Number.MAX_SAFE_INTEGER);
    expect(getNumber(view, 0)).toBe(Number.MAX_SAFE_INTEGER);
    view.setBigUint64(0, 2n ** 53n, true);
    expect(getNumber(view, 0)).toBe(-1);
  });
});
