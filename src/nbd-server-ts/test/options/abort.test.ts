import { expect, test } from 'vitest';
import { handleAbort } from '../../src/options/abort.js';
import { OptionReply } from '../../src/protocol/constants.js';
import { described, negotiationOf } from '../support/described.js';

test('is acknowledged, then the connection ends', () => {
  const outcome = handleAbort(negotiationOf(described()), new Uint8Array(0));
  expect(outcome.replies).toEqual([{ type: OptionReply.ack, data: new Uint8Array(0) }]);
  expect(outcome.then.kind).toBe('close');
});
