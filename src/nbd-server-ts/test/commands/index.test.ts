import { describe, expect, test } from 'vitest';
import { checkCommand } from '../../src/commands/index.js';
import { Command, CommandFlag, NbdErrno } from '../../src/protocol/constants.js';
import { RequestHeader } from '../../src/transmission/request-header.js';
import { rulesOf } from '../../src/transmission/rules.js';
import { described, type Description } from '../support/described.js';

const SIZE = 64 << 20;
const { read, write, flush, trim, cache, writeZeroes, blockStatus } = Command;
const { fua, noHole, dontFragment, requestOne, fastZero } = CommandFlag;
const { perm, invalid, noSpace, overflow } = NbdErrno;

interface Conditions extends Description {
  readonly structured?: boolean;
  readonly base?: boolean;
}

function check(
  type: number,
  offsetBytes: number,
  lengthBytes: number,
  flags = 0,
  { structured = true, base = true, ...rest }: Conditions = {},
): number {
  const rules = rulesOf(described({ sizeBytes: SIZE, ...rest }), {
    exportName: 'disk',
    structuredReplies: structured,
    extendedHeaders: false,
    contextMask: base ? 1 : 0,
    secure: false,
  });
  return checkCommand(Object.assign(new RequestHeader(), { type, offsetBytes, lengthBytes, flags }), rules);
}

const RANGED = { read, write, trim, cache, writeZeroes, blockStatus };
const LARGE_BLOCKS = { blockSize: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 1 << 20 } };

describe.each(Object.entries(RANGED))('%s', (name, type) => {
  const beyond = name === 'write' || name === 'writeZeroes' ? noSpace : invalid;

  test.each([
    ['at the start', 0, 1, 0],
    ['up to the end', SIZE - 4096, 4096, 0],
    ['zero length', 4096, 0, invalid],
    ['one byte beyond the end', SIZE - 4096, 4097, beyond],
    ['behind the end', SIZE, 1, beyond],
    ['at 2^53', 2 ** 53, 512, beyond],
    ['at 2^64 − 512', 2 ** 64 - 512, 512, beyond],
  ])('%s', (_what, offset, length, expected) => {
    expect(check(type, offset, length)).toBe(expected);
  });

  test('FUA is good, other flags of the protocol and unknown ones are not', () => {
    expect(check(type, 0, 4096, fua)).toBe(0);
    expect(check(type, 0, 4096, fua, { features: { fua: false } })).toBe(invalid);
    expect(check(type, 0, 4096, 1 << 5)).toBe(invalid);
    expect(check(type, 0, 4096, 1 << 15)).toBe(invalid);
  });

  test('multiples of the minimum block', () => {
    expect(check(type, 4096, 8192, 0, LARGE_BLOCKS)).toBe(0);
    expect(check(type, 512, 4096, 0, LARGE_BLOCKS)).toBe(invalid);
    expect(check(type, 4096, 512, 0, LARGE_BLOCKS)).toBe(invalid);
  });

  test('a disk beyond 2^32', () => {
    expect(check(type, 2 ** 40, 4096, 0, { sizeBytes: 2 ** 53 - 4096, ...LARGE_BLOCKS })).toBe(0);
    expect(check(type, 2 ** 40 + 512, 4096, 0, { sizeBytes: 2 ** 53 - 4096, ...LARGE_BLOCKS })).toBe(invalid);
  });
});

describe('flags belong to their command', () => {
  const own: Readonly<Record<string, readonly [number, number]>> = {
    DF: [dontFragment, read],
    NO_HOLE: [noHole, writeZeroes],
    FAST_ZERO: [fastZero, writeZeroes],
    REQ_ONE: [requestOne, blockStatus],
  };
  test.each(Object.entries(own))('%s', (_name, [flag, owner]) => {
    for (const type of Object.values(RANGED)) expect(check(type, 0, 4096, flag)).toBe(type === owner ? 0 : invalid);
    expect(check(flush, 0, 0, flag)).toBe(invalid);
  });

  test('DF only with structured replies, FAST_ZERO only where it is offered', () => {
    expect(check(read, 0, 4096, dontFragment, { structured: false })).toBe(invalid);
    expect(check(writeZeroes, 0, 4096, fastZero, { features: { fastZero: false } })).toBe(invalid);
  });
});

test.each([
  ['trim', trim, { trim: false }],
  ['cache', cache, { cache: false }],
  ['writeZeroes', writeZeroes, { writeZeroes: false }],
])('%s that is not offered', (_name, type, features) => {
  expect(check(type, 0, 4096, 0, { features })).toBe(invalid);
});

test('a read-only export', () => {
  for (const type of [write, trim, writeZeroes]) expect(check(type, 0, 4096, 0, { readOnly: true })).toBe(perm);
  for (const type of [read, cache, blockStatus]) expect(check(type, 0, 4096, 0, { readOnly: true })).toBe(0);
});

test('flush', () => {
  expect(check(flush, 0, 0)).toBe(0);
  expect(check(flush, 0, 0, fua)).toBe(0);
  expect(check(flush, 0, 512)).toBe(invalid);
  expect(check(flush, 512, 0)).toBe(invalid);
  expect(check(flush, 0, 0, 0, { features: { flush: false } })).toBe(invalid);
});

test('lengths beyond the maximum block', () => {
  expect(check(read, 0, 32 << 20)).toBe(0);
  expect(check(read, 0, (32 << 20) + 1)).toBe(overflow);
  expect(check(write, 0, (32 << 20) + 1)).toBe(invalid);
  expect(check(read, 0, 1 << 20, dontFragment)).toBe(0);
  expect(check(read, 0, (1 << 20) + 1, dontFragment)).toBe(overflow);
  for (const type of [trim, cache, writeZeroes, blockStatus]) expect(check(type, 0, SIZE)).toBe(0);
});

test('BLOCK_STATUS without a context', () => {
  expect(check(blockStatus, 0, 4096, 0, { base: false })).toBe(invalid);
});

test('unknown commands', () => {
  for (const type of [8, 9, 0x7fff, 0xffff]) expect(check(type, 0, 4096)).toBe(invalid);
});
