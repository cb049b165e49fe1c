import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Handshake } from '../../src/handshake/handshake.js';
import type { TlsMode } from '../../src/handshake/negotiation.js';
import { MAX_OPTIONS, MAX_OPTION_BYTES } from '../../src/limits.js';
import { OptionReply, OptionType } from '../../src/protocol/constants.js';
import { described, directoryOf } from '../support/described.js';
import { ascii, hex, u16, u32, unhex } from '../support/hex.js';

const disk = described();
const FLAGS = u32(3);
const IHAVEOPT = ascii('IHAVEOPT');

function option(type: number, data = ''): string {
  return IHAVEOPT + u32(type) + u32(data.length / 2) + data;
}

function go(name: string, type: number = OptionType.go): string {
  return option(type, u32(name.length) + ascii(name) + u16(0));
}

/** Feeds bytes in the given portions, as a connection does: an incomplete item waits for more. */
function feed(machine: Handshake, portions: readonly Uint8Array[]): { output: string; left: string } {
  let output = '';
  let held = new Uint8Array(0);
  for (const portion of portions) {
    held = new Uint8Array([...held, ...portion]);
    for (;;) {
      for (const bytes of machine.output.splice(0)) output += hex(bytes);
      const consumed = machine.consume(held);
      if (consumed === 0) break;
      held = held.slice(consumed);
    }
  }
  return { output, left: hex(held) };
}

/** Types of the option replies behind the greeting. */
function replies(output: string, from = 18): number[] {
  const bytes = unhex(output);
  const view = new DataView(bytes.buffer);
  const types: number[] = [];
  for (let at = from; at < bytes.length; at += 20 + view.getUint32(at + 16)) {
    expect(hex(bytes.subarray(at, at + 8))).toBe('0003e889045565a9');
    types.push(view.getUint32(at + 12));
  }
  return types;
}

function run(text: string): { machine: Handshake; types: number[]; left: string } {
  const machine = new Handshake(directoryOf(disk));
  const { output, left } = feed(machine, [unhex(text)]);
  return { machine, types: replies(output), left };
}

test('the greeting has FIXED_NEWSTYLE and NO_ZEROES and nothing else', () => {
  expect(hex(new Handshake(directoryOf(disk)).output[0]!)).toBe(ascii('NBDMAGIC') + IHAVEOPT + '0003');
});

const { ack, errUnsupported, errInvalid, errUnknown, errTooBig, info, server } = OptionReply;
const big = '00'.repeat(MAX_OPTION_BYTES + 1);

test.each<[string, string, number[], string]>([
  ['flags alone', FLAGS, [], 'options'],
  ['an unknown client flag', u32(7), [], 'closed'],
  ['LIST', FLAGS + option(OptionType.list), [server, ack], 'options'],
  ['an unknown option, then LIST: in step', FLAGS + option(99) + option(OptionType.list), [errUnsupported, server, ack], 'options'],
  ['an unknown option with data', FLAGS + option(99, 'abcdef') + option(OptionType.list), [errUnsupported, server, ack], 'options'],
  ['an unknown option with much data', FLAGS + option(99, big) + option(OptionType.list), [errUnsupported, server, ack], 'options'],
  ['a known option with much data', FLAGS + option(OptionType.go, big) + option(OptionType.list), [errTooBig, server, ack], 'options'],
  ['STARTTLS', FLAGS + option(OptionType.startTls) + option(OptionType.list), [errUnsupported, server, ack], 'options'],
  ['EXTENDED_HEADERS', FLAGS + option(OptionType.extendedHeaders), [ack], 'options'],
  [
    'EXPORT_NAME after EXTENDED_HEADERS',
    FLAGS + option(OptionType.extendedHeaders) + option(OptionType.exportName, ascii('disk')),
    [ack],
    'closed',
  ],
  ['ABORT', FLAGS + option(OptionType.abort), [ack], 'closed'],
  ['ABORT with data', FLAGS + option(OptionType.abort, 'abcd'), [ack], 'closed'],
  ['ABORT with much data', FLAGS + option(OptionType.abort, big), [ack], 'closed'],
  ['INFO, then GO', FLAGS + go('disk', OptionType.info) + go('disk'), [info, ack, info, ack], 'transmission'],
  ['GO of an unknown export', FLAGS + go('nope') + go('disk'), [errUnknown, info, ack], 'transmission'],
  ['a malformed GO', FLAGS + option(OptionType.go, '00') + go('disk'), [errInvalid, info, ack], 'transmission'],
  ['bad option magic', FLAGS + ascii('IHAVEOPS') + u32(3) + u32(0), [], 'closed'],
  ['option data beyond all bounds', FLAGS + IHAVEOPT + u32(99) + 'ffffffff', [], 'closed'],
  ['EXPORT_NAME of an unknown export', FLAGS + option(OptionType.exportName, ascii('nope')), [], 'closed'],
  ['EXPORT_NAME with much data', FLAGS + option(OptionType.exportName, big), [], 'closed'],
  ['options without FIXED_NEWSTYLE', u32(0) + option(OptionType.list), [], 'closed'],
])('%s', (_what, text, types, state) => {
  const result = run(text);
  expect(result.types).toEqual(types);
  expect(result.machine.state.kind).toBe(state);
});

test('EXPORT_NAME, also without FIXED_NEWSTYLE', () => {
  for (const [flags, bytes] of [
    [0, 134],
    [1, 134],
    [3, 10],
  ] as const) {
    const machine = new Handshake(directoryOf(disk));
    const { output } = feed(machine, [unhex(u32(flags) + option(OptionType.exportName, ascii('disk')))]);
    expect(output.length / 2 - 18).toBe(bytes);
    expect(machine.state.kind).toBe('transmission');
  }
});

test('what follows GO is left alone', () => {
  expect(run(FLAGS + go('disk') + '2560951300000000').left).toBe('2560951300000000');
});

test('more options than the bound', () => {
  const { machine, types } = run(FLAGS + option(99).repeat(MAX_OPTIONS + 1));
  expect(types.length).toBe(MAX_OPTIONS);
  expect(machine.state.kind).toBe('closed');
});

describe('contexts', () => {
  const set = (name: string): string =>
    option(OptionType.setMetaContext, u32(name.length) + ascii(name) + u32(1) + u32(15) + ascii('base:allocation'));
  const STRUCTURED = option(OptionType.structuredReply);

  function negotiated(text: string, ...more: ReturnType<typeof described>[]): unknown {
    const machine = new Handshake(directoryOf(disk, ...more));
    feed(machine, [unhex(FLAGS + text)]);
    return machine.state.kind === 'transmission' ? machine.state.negotiated : machine.state.kind;
  }

  test('selected for the export that GO names', () => {
    expect(negotiated(STRUCTURED + set('disk') + go('disk'))).toEqual({
      exportName: 'disk',
      secure: false,
      structuredReplies: true,
      extendedHeaders: false,
      contextMask: 1,
    });
  });
  test('the default export is the same under both its names', () => {
    expect(negotiated(STRUCTURED + set('') + go('disk'))).toMatchObject({ contextMask: 1 });
  });
  test('selected for another export they do not count', () => {
    expect(negotiated(STRUCTURED + set('two') + go('disk'), described({ name: 'two' }))).toMatchObject({ contextMask: 0 });
  });
  test('a SET that failed has cleared them', () => {
    expect(negotiated(STRUCTURED + set('disk') + set('nope') + go('disk'))).toMatchObject({ contextMask: 0 });
  });
});

describe('TLS', () => {
  const secret = described({ name: 'secret', requiresTls: true });
  const STARTTLS = option(OptionType.startTls);
  const { errTlsRequired } = OptionReply;

  function runTls(tls: TlsMode, text: string): { machine: Handshake; types: number[] } {
    const machine = new Handshake(directoryOf(disk, secret), { tls });
    const { output } = feed(machine, [unhex(FLAGS + text)]);
    return { machine, types: replies(output) };
  }

  test.each<[string, TlsMode, string, number[], string]>([
    ['off: an export for TLS alone is unknown', 'off', go('secret'), [errUnknown], 'options'],
    ['off: nor by EXPORT_NAME', 'off', option(OptionType.exportName, ascii('secret')), [], 'closed'],
    ['selective: GO of it', 'selective', go('secret') + go('disk'), [errTlsRequired, info, ack], 'transmission'],
    ['selective: EXPORT_NAME of it', 'selective', option(OptionType.exportName, ascii('secret')), [], 'closed'],
    ['forced: GO', 'forced', go('disk'), [errTlsRequired], 'options'],
    ['forced: an unknown option with data', 'forced', option(99, 'aabb') + go('nope'), [errTlsRequired, errTlsRequired], 'options'],
    ['forced: EXPORT_NAME', 'forced', option(OptionType.exportName, ascii('disk')), [], 'closed'],
    ['forced: ABORT', 'forced', option(OptionType.abort), [ack], 'closed'],
    ['STARTTLS', 'forced', STARTTLS, [ack], 'upgrading'],
    ['plaintext behind STARTTLS', 'forced', STARTTLS + option(OptionType.list), [ack], 'closed'],
  ])('%s', (_what, tls, text, types, state) => {
    const result = runTls(tls, text);
    expect(result.types).toEqual(types);
    expect(result.machine.state.kind).toBe(state);
  });

  test('what was negotiated before is forgotten; then all is served', () => {
    const set = option(OptionType.setMetaContext, u32(4) + ascii('disk') + u32(1) + u32(15) + ascii('base:allocation'));
    const { machine } = runTls('selective', option(OptionType.extendedHeaders) + set + STARTTLS);
    machine.output.length = 0;
    machine.secured();
    const { output } = feed(machine, [unhex(STARTTLS + go('secret', OptionType.info) + go('disk'))]);
    expect(replies(output, 0)).toEqual([errInvalid, info, ack, info, ack]);
    expect(machine.state).toMatchObject({
      kind: 'transmission',
      negotiated: { structuredReplies: false, extendedHeaders: false, contextMask: 0 },
    });
  });
});

test('a server that is shutting down', () => {
  const machine = new Handshake(directoryOf(disk));
  machine.shutDown();
  const { output } = feed(machine, [unhex(FLAGS + option(OptionType.list) + go('disk') + option(OptionType.abort))]);
  expect(replies(output)).toEqual([OptionReply.errShutdown, OptionReply.errShutdown, ack]);
  expect(machine.state.kind).toBe('closed');
});

test('how the bytes are cut up does not matter', () => {
  const text =
    FLAGS +
    option(99, 'aabbcc') +
    option(OptionType.list) +
    option(OptionType.structuredReply) +
    go('nope') +
    option(OptionType.go, '01') +
    go('disk') +
    'ffff';
  const bytes = unhex(text);
  const whole = feed(new Handshake(directoryOf(disk)), [bytes]);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 100 }), sizes => {
      expect(feed(new Handshake(directoryOf(disk)), regroup(bytes, sizes))).toEqual(whole);
    }),
  );
});

function regroup(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const portions: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    portions.push(bytes.slice(at, at + size));
    at += size;
  }
  return portions;
}

test('any bytes at all: it ends or waits, and takes no more than it was given', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), noise => {
      const machine = new Handshake(directoryOf(disk));
      feed(machine, [unhex(FLAGS), noise]);
      expect(['options', 'draining', 'closed']).toContain(machine.state.kind);
    }),
  );
});
