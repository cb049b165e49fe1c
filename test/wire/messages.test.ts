import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeControl, encodeControl, packr, WireFormatError } from '../../src/wire/control.js';
import { createHeader, decodeHeader, FrameType, resetHeader, type FrameHeader } from '../../src/wire/frame.js';
import { chooseVersion, helloMessage, versionMismatch } from '../../src/wire/hello.js';
import { checkIoReply, checkIoRequest, decodeExtents, encodeExtents } from '../../src/wire/io.js';
import { HEADER_BYTES, MAP_EXTENT_BYTES, MAX_RANGE_BYTES } from '../../src/wire/limits.js';
import { metaReply, metaRequest } from '../../src/wire/meta.js';
import { IoOp, MAX_IO_BYTES, MAX_MAP_EXTENTS } from '../../src/wire/path.js';
import { sessionEnded, sessionHandover, sessionOpen, sessionRefused } from '../../src/wire/session.js';
import { IoStatus } from '../../src/wire/status.js';

const hello = { versionMin: 1, versionMax: 1, role: 'datapath', software: 'test' } as const;

describe('control messages', () => {
  it('come back as they were sent, behind a valid header', () => {
    const open = { vdiskId: randomUUID(), generation: 2 ** 50, datapathUuid: randomUUID(), shard: 3 };
    const frame = encodeControl(FrameType.sessionOpen, open, 9);
    const header = createHeader();
    expect(decodeHeader(new DataView(frame.buffer), 0, header)).toBe(null);
    expect(header).toMatchObject({ type: FrameType.sessionOpen, tag: 9, payloadBytes: frame.length - HEADER_BYTES });
    expect(decodeControl(sessionOpen, frame.subarray(HEADER_BYTES))).toEqual(open);
  });

  it('name the node that controls the vdisk, or none', () => {
    const vdiskId = randomUUID();
    const moved = { reason: 'moved', message: 'm', node: 'node-2' };
    expect(decodeControl(sessionRefused, packr.pack(moved))).toEqual(moved);
    expect(decodeControl(sessionRefused, packr.pack({ reason: 'busy', message: 'm', node: undefined })).node).toBeUndefined();
    expect(decodeControl(sessionEnded, packr.pack({ reason: 'fenced', node: 'node-2' })).node).toBe('node-2');
    expect(() => decodeControl(sessionEnded, packr.pack({ reason: 'fenced', node: 'x'.repeat(256) }))).toThrow(WireFormatError);
    expect(decodeControl(sessionHandover, packr.pack({ vdiskId, to: 'node-2' }))).toEqual({ vdiskId, to: 'node-2' });
  });

  it('of any bytes fail with WireFormatError and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        try {
          decodeControl(helloMessage, bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(WireFormatError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['a missing key', { versionMin: 1, role: 'datapath', software: '' }],
    ['a wrong type', { ...hello, versionMin: '1' }],
    ['a number out of range', { ...hello, versionMax: 70_000 }],
    ['an unknown role', { ...hello, role: 'root' }],
    ['no object', [1, 2, 3]],
  ])('with %s are refused', (_, message) => {
    const frame = encodeControl(FrameType.hello, message);
    expect(() => decodeControl(helloMessage, frame.subarray(HEADER_BYTES))).toThrow(WireFormatError);
  });

  it('of a later version may have keys that this one does not know', () => {
    const frame = encodeControl(FrameType.hello, { ...hello, compression: ['zstd'] });
    expect(decodeControl(helloMessage, frame.subarray(HEADER_BYTES))).toEqual(hello);
  });

  it('beyond the limit are not sent', () => {
    expect(() => encodeControl(FrameType.error, { code: 'x', message: 'y'.repeat(20_000) })).toThrow(RangeError);
  });

  it('of the metadata family come back', () => {
    const request = {
      kind: 'transaction',
      compares: [{ key: 'a', version: 0 }],
      operations: [{ put: 'a', value: { deep: [1, null, 'x'] } }, { remove: 'b' }],
    } as const;
    const frame = encodeControl(FrameType.metaRequest, request, 4);
    expect(decodeControl(metaRequest, frame.subarray(HEADER_BYTES))).toEqual(request);
    const reply = { kind: 'failed', code: 'ERR_META_UNAVAILABLE', message: 'm', unknown: true } as const;
    expect(decodeControl(metaReply, encodeControl(FrameType.metaReply, reply).subarray(HEADER_BYTES))).toEqual(reply);
  });
});

describe('version negotiation', () => {
  it.each([
    [1, 1, 1, 1, 1],
    [1, 5, 1, 3, 3],
    [2, 3, 1, 9, 3],
    [4, 5, 1, 3, null],
    [1, 1, 2, 3, null],
  ])('client %i to %i, server %i to %i: %s', (versionMin, versionMax, min, max, chosen) => {
    expect(chooseVersion({ ...hello, versionMin, versionMax }, min, max)).toBe(chosen);
  });

  it('says which side to upgrade', () => {
    expect(versionMismatch({ ...hello, versionMin: 7, versionMax: 9 }).message).toContain('7 to 9');
  });
});

function request(fields: Partial<FrameHeader>): FrameHeader {
  return { ...resetHeader(createHeader(), FrameType.ioRequest), clientSeq: 5, lowWater: 5, ...fields };
}

describe('I/O', () => {
  it.each([
    ['a read', { op: IoOp.read, lengthBytes: 4096 }, null],
    ['the largest write', { op: IoOp.write, lengthBytes: MAX_IO_BYTES, payloadBytes: MAX_IO_BYTES }, null],
    ['a flush', { op: IoOp.flush }, null],
    ['a trim of 4 GiB', { op: IoOp.trim, lengthBytes: MAX_RANGE_BYTES }, null],
    ['an unknown op', { op: 2, lengthBytes: 1 }, 'ERR_IO_OP'],
    ['a read that is too long', { op: IoOp.read, lengthBytes: MAX_IO_BYTES + 1 }, 'ERR_IO_LENGTH'],
    ['a read of nothing', { op: IoOp.read }, 'ERR_IO_LENGTH'],
    ['a read with payload', { op: IoOp.read, lengthBytes: 8, payloadBytes: 8 }, 'ERR_IO_LENGTH'],
    ['a write whose payload is shorter', { op: IoOp.write, lengthBytes: 4096, payloadBytes: 4095 }, 'ERR_IO_LENGTH'],
    ['a flush with a length', { op: IoOp.flush, lengthBytes: 1 }, 'ERR_IO_LENGTH'],
    ['an end above 2^53', { op: IoOp.read, lengthBytes: 4096, offsetBytes: Number.MAX_SAFE_INTEGER - 10 }, 'ERR_IO_RANGE'],
    ['clientSeq 0', { op: IoOp.flush, clientSeq: 0, lowWater: 0 }, 'ERR_IO_SEQ'],
    ['a low-water mark above itself', { op: IoOp.flush, lowWater: 6 }, 'ERR_IO_SEQ'],
  ])('request: %s', (_, fields, fault) => {
    expect(checkIoRequest(request(fields))).toBe(fault);
  });

  it.each([
    ['read data', { op: IoOp.read, lengthBytes: 512, payloadBytes: 512 }, null],
    ['a failed read without data', { op: IoOp.read, lengthBytes: 512, status: IoStatus.corrupt }, null],
    ['a failed read with data', { op: IoOp.read, lengthBytes: 512, payloadBytes: 512, status: IoStatus.corrupt }, 'ERR_IO_LENGTH'],
    ['short read data', { op: IoOp.read, lengthBytes: 512, payloadBytes: 511 }, 'ERR_IO_LENGTH'],
    ['a write answered with data', { op: IoOp.write, lengthBytes: 512, payloadBytes: 1 }, 'ERR_IO_LENGTH'],
    ['half an extent', { op: IoOp.map, lengthBytes: 512, payloadBytes: 24 }, 'ERR_IO_LENGTH'],
    ['no extent', { op: IoOp.map, lengthBytes: 512 }, 'ERR_IO_LENGTH'],
    ['too many extents', { op: IoOp.map, payloadBytes: (MAX_MAP_EXTENTS + 1) * MAP_EXTENT_BYTES }, 'ERR_IO_LENGTH'],
    ['an unknown status', { op: IoOp.flush, status: 8 }, 'ERR_IO_STATUS'],
  ])('reply: %s', (_, fields, fault) => {
    expect(checkIoReply(request(fields))).toBe(fault);
  });

  it('extents come back as they were sent', () => {
    const extent = fc.tuple(fc.integer({ min: 1, max: MAX_RANGE_BYTES }), fc.integer({ min: 0, max: 3 }));
    fc.assert(
      fc.property(fc.array(extent, { minLength: 1, maxLength: MAX_MAP_EXTENTS }), list => {
        const view = new DataView(new ArrayBuffer(MAX_MAP_EXTENTS * MAP_EXTENT_BYTES));
        const bytes = encodeExtents(view, 0, Float64Array.from(list.flat()), list.length);
        const back = new Float64Array(2 * MAX_MAP_EXTENTS);
        expect(decodeExtents(view, 0, bytes, back)).toBe(list.length);
        expect([...back.subarray(0, 2 * list.length)]).toEqual(list.flat());
      }),
    );
    expect(decodeExtents(new DataView(new ArrayBuffer(16)), 0, 16, new Float64Array(2))).toBe(-1);
  });
});
