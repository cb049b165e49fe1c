import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeInfoRequest, handleGo, handleInfo } from '../../src/options/info-go.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';
import { ascii, hex, u16, u32, unhex } from '../support/hex.js';

function request(name: string, ...items: number[]): Uint8Array {
  return unhex(u32(Buffer.byteLength(name)) + ascii(name) + u16(items.length) + items.map(u16).join(''));
}

const disk = described({ description: 'a disk', sizeBytes: 0x2_0000_0000, readOnly: true });

describe.each([
  ['INFO', handleInfo],
  ['GO', handleGo],
])('%s', (option, handle) => {
  test('INFO_EXPORT always, the rest when asked for, unknown items ignored', () => {
    const { replies } = handle(negotiationOf(disk), request('disk', 3, 1, 2, 77, 3));
    expect(replies.map(reply => [reply.type, hex(reply.data)])).toEqual([
      // HAS_FLAGS, READ_ONLY, FLUSH, FUA, DF, MULTI_CONN, CACHE
      [OptionReply.info, '0000' + '0000000200000000' + '058f'],
      [OptionReply.info, '0001' + ascii('disk')],
      [OptionReply.info, '0002' + ascii('a disk')],
      [OptionReply.info, '0003' + u32(1) + u32(4096) + u32(32 << 20)],
      [OptionReply.ack, ''],
    ]);
  });

  test('without structured replies there is no SEND_DF', () => {
    const { replies } = handle({ ...negotiationOf(disk), structuredReplies: false }, request('disk'));
    expect(hex(replies[0]!.data)).toBe('0000' + '0000000200000000' + '050f');
    expect(replies.length).toBe(2);
  });

  test('the default export tells its name', () => {
    expect(hex(handle(negotiationOf(disk), request('', 1)).replies[1]!.data)).toBe('0001' + ascii('disk'));
  });

  test.each<[string, Uint8Array, number]>([
    ['an unknown export', request('other'), OptionReply.errUnknown],
    ['too short', unhex('0000'), OptionReply.errInvalid],
    ['a name longer than the data', unhex(u32(9) + ascii('disk') + '0000'), OptionReply.errInvalid],
    ['a name length near 2^32', unhex('ffffffff' + ascii('disk') + '0000'), OptionReply.errInvalid],
    ['fewer items than announced', unhex(u32(4) + ascii('disk') + '0002' + '0003'), OptionReply.errInvalid],
    ['trailing bytes', unhex(hex(request('disk', 3)) + '00'), OptionReply.errInvalid],
    ['a NUL in the name', request('di\0k'), OptionReply.errInvalid],
    ['a name that is not UTF-8', unhex(u32(2) + 'c328' + '0000'), OptionReply.errInvalid],
    ['too many items', request('disk', ...Array.from({ length: 300 }, (_, i) => i)), OptionReply.errTooBig],
  ])('%s is refused, and the negotiation goes on', (_what, data, error) => {
    const outcome = handle(negotiationOf(disk), data);
    expect(outcome.replies.map(reply => reply.type)).toEqual([error]);
    expect(outcome.then.kind).toBe('options');
    // What an attacker sent does not come back.
    expect(hex(outcome.replies[0]!.data)).not.toContain(ascii('disk'));
  });

  test('an export with large blocks wants to be asked for them', () => {
    const picky = described({ blockSize: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 32 << 20 } });
    expect(handle(negotiationOf(picky), request('disk')).replies.map(reply => reply.type)).toEqual([OptionReply.errBlockSizeRequired]);
    expect(handle(negotiationOf(picky), request('disk', 3)).replies.at(-1)!.type).toBe(OptionReply.ack);
  });

  test(`${option} ${option === 'GO' ? 'enters the transmission phase' : 'stays'}`, () => {
    expect(handle(negotiationOf(disk), request('disk')).then.kind).toBe(option === 'GO' ? 'transmission' : 'options');
  });
});

test('decodes what it should, and nothing else', () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 40 }).filter(s => !s.includes('\0')),
      fc.array(fc.nat(0xffff), { maxLength: 20 }),
      (name, items) => {
        expect(decodeInfoRequest(request(name, ...items))).toEqual({ name, items: new Set(items) });
      },
    ),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), data => void decodeInfoRequest(data)));
});
