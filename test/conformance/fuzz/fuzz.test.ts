import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ENGINES } from '../../../src/nbd-server-ts/test/support/server.js';
import { checkAlive, fuzz, runCase, type FuzzTargets } from './fuzz.js';
import { startTargets } from './targets.js';

/** Seeds that have found something once. */
const FOUND: readonly number[] = [];
const CASES = 200;

describe.each(ENGINES)('hostile clients by seed, %s', engine => {
  let targets: FuzzTargets & { readonly stop: () => Promise<void> };
  beforeAll(async () => {
    targets = await startTargets(engine);
  });
  afterAll(() => targets.stop());

  test(`${CASES} cases, and those that found something before`, async () => {
    for (const seed of FOUND) await runCase(seed, targets);
    await checkAlive(targets);
    const counts = await fuzz(1, targets, done => done < CASES);
    expect([...counts.keys()].sort()).toEqual(['TLS', 'handshake', 'transmission']);
  });
});
