import { expect, test } from 'vitest';
import { handleStructuredReply } from '../../src/options/structured-reply.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';

test('is acknowledged and remembered, as often as it comes', () => {
  const negotiation = { ...negotiationOf(described()), structuredReplies: false };
  for (let i = 0; i < 2; i++)
    expect(handleStructuredReply(negotiation, new Uint8Array(0)).replies.map(reply => reply.type)).toEqual([OptionReply.ack]);
  expect(negotiation.structuredReplies).toBe(true);
});

test('data is refused, and nothing is negotiated', () => {
  const negotiation = { ...negotiationOf(described()), structuredReplies: false };
  expect(handleStructuredReply(negotiation, new Uint8Array(1)).replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
  expect(negotiation.structuredReplies).toBe(false);
});
