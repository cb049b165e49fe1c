import { expect, test } from 'vitest';
import { handleStartTls } from '../../src/options/start-tls.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';

const NO_DATA = new Uint8Array(0);

test('where TLS is off it is not known', () => {
  expect(handleStartTls(negotiationOf(described()), NO_DATA).replies.map(reply => reply.type)).toEqual([OptionReply.errUnsupported]);
});

test.each(['selective', 'forced'] as const)('%s: TLS begins behind the answer, once', tls => {
  const negotiation = { ...negotiationOf(described()), tls };
  const { replies, then } = handleStartTls(negotiation, NO_DATA);
  expect(replies.map(reply => reply.type)).toEqual([OptionReply.ack]);
  expect(then).toEqual({ kind: 'tls' });
  const again = handleStartTls({ ...negotiation, secure: true }, NO_DATA);
  expect(again.replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
  expect(again.then).toEqual({ kind: 'options' });
});

test('data is refused', () => {
  expect(handleStartTls(negotiationOf(described()), new Uint8Array(3)).replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
});
