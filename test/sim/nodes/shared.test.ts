import { expect, it } from 'vitest';
import { Migration } from './shared.js';

const SEEDS = 6;

it(`a shared attachment reads nothing stale, and changes hands, over ${SEEDS} histories with a controller that is cut off`, () => {
  let takeovers = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = new Migration(seed).run();
    expect(result.violations, `seed ${seed}`).toEqual([]);
    takeovers += result.takeovers > 0 ? 1 : 0;
  }
  // What it is for has happened.
  expect(takeovers).toBeGreaterThan(SEEDS / 2);
});

it('a shared read without a confirm round is found: it is stale (M19)', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violations } = new Migration(seed, { stargate: { controller: { sharedReadUnconfirmed: true } } }).run();
    if (violations.some(message => /block \d+: /.test(message))) return;
  }
  expect.fail(`not found in ${SEEDS} histories`);
});
