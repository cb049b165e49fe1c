import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeMetaContextRequest, handleListMetaContext, handleSetMetaContext } from '../../src/options/meta-context.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';
import { ascii, hex, u32, unhex } from '../support/hex.js';

function text(value: string): string {
  return u32(Buffer.byteLength(value)) + ascii(value);
}

function request(name: string, ...queries: string[]): Uint8Array {
  return unhex(text(name) + u32(queries.length) + queries.map(text).join(''));
}

const BASE = 'base:allocation';

describe('LIST', () => {
  test.each([
    ['no query', [], 1],
    ['the context', [BASE], 1],
    ['its namespace', ['base:'], 1],
    ['twice the same', [BASE, BASE, 'base:'], 1],
    ['others', ['qemu:', 'base:other', 'base'], 0],
  ])('%s', (_what, queries, count) => {
    const { replies } = handleListMetaContext(negotiationOf(described()), request('disk', ...queries));
    expect(replies.map(reply => reply.type)).toEqual([...Array<number>(count).fill(OptionReply.metaContext), OptionReply.ack]);
    if (count > 0) expect(hex(replies[0]!.data)).toBe(u32(0) + ascii(BASE));
  });

  test('it selects nothing', () => {
    const negotiation = negotiationOf(described());
    handleListMetaContext(negotiation, request('disk', BASE));
    expect(negotiation.contextMask).toBe(0);
  });
});

describe('contexts beside base:allocation', () => {
  const CONTEXTS = ['qemu:dirty-bitmap:a', 'qemu:dirty-bitmap:b', 'qemu:allocation-depth'];

  test.each<[string[], string[]]>([
    [[], [BASE, ...CONTEXTS]],
    [['qemu:'], CONTEXTS],
    [['qemu:dirty-bitmap:'], CONTEXTS.slice(0, 2)],
    [
      ['qemu:dirty-bitmap:b', 'base:'],
      [BASE, 'qemu:dirty-bitmap:b'],
    ],
    [['qemu', 'qemu:dirty-bitmap'], []],
  ])('LIST of %j', (queries, expected) => {
    const { replies } = handleListMetaContext(negotiationOf(described({ contexts: CONTEXTS })), request('disk', ...queries));
    expect(replies.slice(0, -1).map(reply => hex(reply.data))).toEqual(expected.map(name => u32(0) + ascii(name)));
  });

  test('SET takes exact names, each has its own id', () => {
    const negotiation = negotiationOf(described({ contexts: CONTEXTS }));
    const { replies } = handleSetMetaContext(negotiation, request('disk', 'qemu:allocation-depth', 'qemu:dirty-bitmap:', BASE));
    expect(replies.slice(0, -1).map(reply => hex(reply.data))).toEqual([u32(1) + ascii(BASE), u32(4) + ascii('qemu:allocation-depth')]);
    expect(negotiation.contextMask).toBe(0b1001);
  });
});

describe('SET', () => {
  test('selects by exact name, once', () => {
    const negotiation = negotiationOf(described());
    const { replies } = handleSetMetaContext(negotiation, request('disk', 'qemu:dirty-bitmap:x', BASE, BASE));
    expect(replies.map(reply => [reply.type, hex(reply.data)])).toEqual([
      [OptionReply.metaContext, u32(1) + ascii(BASE)],
      [OptionReply.ack, ''],
    ]);
    expect(negotiation).toMatchObject({ contextMask: 1, metaExportName: 'disk' });
  });

  test.each([[[]], [['base:']], [['nothing:here']]])('%j selects nothing', queries => {
    const negotiation = { ...negotiationOf(described()), contextMask: 1, metaExportName: 'disk' };
    expect(handleSetMetaContext(negotiation, request('disk', ...queries)).replies.map(reply => reply.type)).toEqual([OptionReply.ack]);
    expect(negotiation.contextMask).toBe(0);
  });

  test('an export without block status has no context', () => {
    const negotiation = negotiationOf(described({ features: { blockStatus: false } }));
    expect(handleSetMetaContext(negotiation, request('disk', BASE)).replies.map(reply => reply.type)).toEqual([OptionReply.ack]);
    expect(negotiation.contextMask).toBe(0);
  });
});

describe.each([
  ['LIST', handleListMetaContext],
  ['SET', handleSetMetaContext],
])('%s refuses', (option, handle) => {
  test.each<[string, Uint8Array, number]>([
    ['an unknown export', request('other', BASE), OptionReply.errUnknown],
    ['trailing bytes', unhex(hex(request('disk', BASE)) + '00'), OptionReply.errInvalid],
    ['a query cut short', request('disk', BASE).subarray(0, -1), OptionReply.errInvalid],
    ['a count that the data cannot hold', unhex(text('disk') + 'ffffffff'), OptionReply.errInvalid],
    ['too many queries', request('disk', ...Array.from({ length: 300 }, (_, i) => `a:${i}`)), OptionReply.errTooBig],
    ['a query with a NUL', request('disk', 'base:\0'), OptionReply.errInvalid],
  ])('%s', (_what, data, error) => {
    const negotiation = { ...negotiationOf(described()), contextMask: 1, metaExportName: 'disk' };
    expect(handle(negotiation, data).replies.map(reply => reply.type)).toEqual([error]);
    // A SET that failed has cleared what an earlier one selected; a LIST changes nothing.
    expect(negotiation.contextMask).toBe(option === 'LIST' ? 1 : 0);
  });

  test('clients without structured replies', () => {
    const negotiation = { ...negotiationOf(described()), structuredReplies: false };
    expect(handle(negotiation, request('disk', BASE)).replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
  });
});

test('any bytes are decoded or refused', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), data => void decodeMetaContextRequest(data)));
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ maxLength: 20 }).filter(s => !s.includes('\0')),
        { maxLength: 10 },
      ),
      queries => {
        expect(decodeMetaContextRequest(request('x', ...queries))).toEqual({ exportName: 'x', queries: new Set(queries) });
      },
    ),
  );
});
