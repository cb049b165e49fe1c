import { expect, describe, it } from 'vitest';
import type { Report } from '../../src/drill/report.js';
import { gatepathArgv } from '../support/gatepath.js';
import { run } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';

const missing = missingPrograms('etcd', 'setpriv');
/** So many that a datapath which waits twice as long after each return does not come back in time, were it one attachment. */
const ROUNDS = 5;
const TIMEOUT_MS = 900_000;

describe.skipIf(missing.length > 0)(`drill failback${missingNote(missing)}`, { timeout: TIMEOUT_MS }, () => {
  it('again and again: each round waits as the first one does', async () => {
    const args = ['drill', 'failback', '--rounds', String(ROUNDS), '--seconds', '2', '--json'];
    const { stdout, stderr, code } = await run(gatepathArgv(...args), { timeoutMs: TIMEOUT_MS });
    expect(stdout, stderr).toMatch(/^\{/);
    const { rounds } = JSON.parse(stdout) as Report;
    expect({ code, failures: rounds.map(({ failures }) => failures) }).toEqual({ code: 0, failures: Array(ROUNDS).fill([]) });
  });
});
