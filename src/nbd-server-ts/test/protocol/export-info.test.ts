import { expect, test } from 'vitest';
import type { NbdServerError } from '../../src/errors.js';
import { checkExport, transmissionFlags } from '../../src/protocol/export-info.js';
import { TransmissionFlag } from '../../src/protocol/constants.js';
import { described, type Description } from '../support/described.js';

function blocks(minimumBytes: number, preferredBytes: number, maximumBytes: number): Description {
  return { blockSize: { minimumBytes, preferredBytes, maximumBytes } };
}

test.each<[string, Description]>([
  ['usual', {}],
  ['empty', { sizeBytes: 0 }],
  ['largest', { sizeBytes: 2 ** 53 - 1 }],
  ['largest blocks', { ...blocks(65_536, 65_536, 32 << 20) }],
])('%s is good', (_what, description) => {
  checkExport(described(description));
});

test.each<[string, Description]>([
  ['a name with NUL', { name: 'a\0' }],
  ['a long description', { description: 'x'.repeat(4097) }],
  ['a negative size', { sizeBytes: -1 }],
  ['a size that is not exact', { sizeBytes: 2 ** 53 }],
  ['a fractional size', { sizeBytes: 0.5 }],
  ['minimum not a power of two', blocks(3, 4096, 4096 * 3)],
  ['minimum above 64 KiB', blocks(131_072, 131_072, 1 << 20)],
  ['preferred below 512', blocks(1, 256, 1 << 20)],
  ['preferred below the minimum', blocks(4096, 512, 1 << 20)],
  ['maximum not a multiple', blocks(4096, 4096, 4097)],
  ['maximum above 32 MiB', blocks(1, 4096, 64 << 20)],
  ['size not a multiple', { sizeBytes: 1000, ...blocks(512, 4096, 1 << 20) }],
])('%s is refused', (_what, description) => {
  expect(() => checkExport(described(description))).toThrow(
    expect.objectContaining({ code: 'ERR_EXPORT_INVALID' } satisfies Partial<NbdServerError>),
  );
});

test('flags follow features', () => {
  const { hasFlags, sendFastZero, sendWriteZeroes, sendDf, rotational, sendTrim } = TransmissionFlag;
  const none = {
    flush: false,
    fua: false,
    trim: false,
    writeZeroes: false,
    fastZero: false,
    cache: false,
    multiConn: false,
    rotational: false,
  };
  expect(transmissionFlags(described({ features: none }), COMPACT)).toBe(hasFlags);
  // SEND_FAST_ZERO never without SEND_WRITE_ZEROES
  expect(transmissionFlags(described({ features: { ...none, fastZero: true } }), COMPACT) & sendFastZero).toBe(0);
  expect(transmissionFlags(described({ features: { ...none, rotational: true } }), CHUNKS)).toBe(hasFlags | sendDf | rotational);
  expect(transmissionFlags(described({ readOnly: true }), CHUNKS) & (sendTrim | sendWriteZeroes | sendFastZero)).toBe(0);
  // BLOCK_STATUS_PAYLOAD only with extended headers and contexts of this export
  const { blockStatusPayload, sendResize } = TransmissionFlag;
  const withContexts = { ...CHUNKS, extendedHeaders: true, contextMask: 1, metaExportName: 'disk' };
  expect(transmissionFlags(described(), withContexts) & blockStatusPayload).toBe(blockStatusPayload);
  for (const less of [{ extendedHeaders: false }, { contextMask: 0 }, { metaExportName: 'other' }])
    expect(transmissionFlags(described(), { ...withContexts, ...less }) & blockStatusPayload).toBe(0);
  expect(transmissionFlags(described(), CHUNKS) & sendResize).toBe(0);
  expect(transmissionFlags(described({ resize: () => undefined }), CHUNKS) & sendResize).toBe(sendResize);
  expect(transmissionFlags(described({ resize: () => undefined, readOnly: true }), CHUNKS) & sendResize).toBe(0);
});

const COMPACT = { structuredReplies: false, extendedHeaders: false, contextMask: 0, metaExportName: null };
const CHUNKS = { ...COMPACT, structuredReplies: true };
