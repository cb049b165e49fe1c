import { expect, test } from 'vitest';
import { handleList } from '../../src/options/list.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';
import { ascii, hex, u32 } from '../support/hex.js';

test('one answer for each export, then ACK', () => {
  const { replies } = handleList(
    negotiationOf(described({ name: 'a' }), described({ name: 'böb', description: 'two' })),
    new Uint8Array(0),
  );
  expect(replies.map(reply => [reply.type, hex(reply.data)])).toEqual([
    [OptionReply.server, u32(1) + ascii('a')],
    [OptionReply.server, u32(4) + ascii('böb') + ascii('two')],
    [OptionReply.ack, ''],
  ]);
});

test('no export at all is an empty list', () => {
  const negotiation = { ...negotiationOf(), directory: { find: () => undefined, list: () => [] } };
  expect(handleList(negotiation, new Uint8Array(0)).replies.map(reply => reply.type)).toEqual([OptionReply.ack]);
});

test('data is refused', () => {
  expect(handleList(negotiationOf(described()), new Uint8Array(1)).replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
});

test('a list beyond the bound is refused, not truncated', () => {
  const exports = Array.from({ length: 1_100 }, (_, i) => described({ name: `${i}`.padEnd(4096, 'x') }));
  expect(handleList(negotiationOf(...exports), new Uint8Array(0)).replies.map(reply => reply.type)).toEqual([OptionReply.errTooBig]);
});

test('an export whose name the protocol cannot carry is left out', () => {
  const { replies } = handleList(negotiationOf(described({ name: 'x'.repeat(4097) }), described({ name: 'ok' })), new Uint8Array(0));
  expect(replies.map(reply => reply.type)).toEqual([OptionReply.server, OptionReply.ack]);
});
