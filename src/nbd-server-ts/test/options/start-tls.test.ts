import { expect, test } from 'vitest';
import { handleStartTls } from '../../src/options/start-tls.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';

test('is not offered', () => {
  expect(handleStartTls(negotiationOf(described()), new Uint8Array(0)).replies.map(reply => reply.type)).toEqual([
    OptionReply.errUnsupported,
  ]);
});

test('data is refused', () => {
  expect(handleStartTls(negotiationOf(described()), new Uint8Array(3)).replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
});
