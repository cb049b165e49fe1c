import { expect, test } from 'vitest';
import { handleExtendedHeaders } from '../../src/options/extended-headers.js';
import { handleStructuredReply } from '../../src/options/structured-reply.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';

const NO_DATA = new Uint8Array(0);

test('implies chunks; structured replies are not to be had behind it', () => {
  const negotiation = { ...negotiationOf(described()), structuredReplies: false };
  expect(handleExtendedHeaders(negotiation, NO_DATA).replies.map(reply => reply.type)).toEqual([OptionReply.ack]);
  expect(negotiation).toMatchObject({ extendedHeaders: true, structuredReplies: true });
  expect(handleStructuredReply(negotiation, NO_DATA).replies.map(reply => reply.type)).toEqual([OptionReply.errExtendedHeadersRequired]);
});

test('data is refused', () => {
  const negotiation = negotiationOf(described());
  expect(handleExtendedHeaders(negotiation, new Uint8Array(3)).replies.map(reply => reply.type)).toEqual([OptionReply.errInvalid]);
  expect(negotiation.extendedHeaders).toBe(false);
});
