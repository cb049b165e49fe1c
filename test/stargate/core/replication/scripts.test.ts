import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ReplicationScript } from './script.js';

const directory = new URL('scripts/', import.meta.url);

describe('replication: golden scripts', () => {
  for (const file of readdirSync(directory)) {
    it(file, () => {
      const url = new URL(file, directory);
      const text = readFileSync(url, 'utf8');
      const result = new ReplicationScript().run(text);
      // After an intended change: UPDATE_SCRIPTS=1 npx vitest run test/stargate/core/replication/scripts.test.ts, and read the difference.
      if (process.env['UPDATE_SCRIPTS'] === '1') writeFileSync(url, result);
      expect(result).toBe(text);
    });
  }
});

/** Bugs that need a rare order of events: the script has it. Found by what comes of them. */
describe('replication: planted bugs under a directed schedule', () => {
  it.each([
    ['resend.txt', 'resendBySeqOnly', /^lost: .* where 1\/t3:w2 was committed/],
    ['lost-tail.txt', 'cutSurplus', /^lost: /],
    ['surplus-tail.txt', 'hearsWhileAsking', /^lost: .* where 3\/t2:w3 was committed/],
    ['surplus-copy.txt', 'goesUnasked', /^lost: .* where 1\/t2:w1 was committed/],
    ['late-proposal.txt', 'controllerIsMe', /^lost: .* where 1\/t4:w2 was committed/],
  ] as const)('%s: %s', (file, mutation, outcome) => {
    const text = readFileSync(new URL(file, directory), 'utf8');
    expect(() => new ReplicationScript({ [mutation]: true }).run(text)).toThrow(outcome);
  });
});
