import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GuestLoad } from '../../src/drill/guest-load.js';
import type { Report } from '../../src/drill/report.js';
import { missingForGuests, useScenario } from '../guest/scenario.js';
import { gatepathArgv } from '../support/gatepath.js';
import { run, TestProcess } from '../support/process.js';
import { missingPrograms, program } from '../support/programs.js';
import { waitFor } from '../support/wait.js';

const missing = missingForGuests('fio', 'nbdkit');
const noCluster = missingPrograms('etcd', 'setpriv').length > 0;
const TIMEOUT_MS = 560_000;
const SEED = 11;

/** A guest on the disk of a cluster, while a drill on a vdisk beside it kills, stops and replaces the node that serves both: the guest's host has it beside itself. */
describe.skipIf(missing.skip || noCluster)(`a guest through drills${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it.each(['kill', 'hang', 'upgrade', 'failback'])('%s: ext4 and fio meet no error', { timeout: TIMEOUT_MS }, async scenario => {
    const args = ['drill', scenario, '--load', 'guest', '--seconds', '2', '--queue-depth', '4', '--seed', String(SEED), '--json'];
    const { stdout, stderr } = await run(gatepathArgv(...args), { timeoutMs: TIMEOUT_MS });
    expect(stdout, stderr).toMatch(/^\{/);
    const { passed, rounds, beside } = JSON.parse(stdout) as Report;
    expect({ passed, failures: rounds[0]!.failures, beside }).toMatchObject({
      passed: true,
      failures: [],
      beside: { load: 'guest', failures: [] },
    });
    expect(beside!.passes).toBeGreaterThan(0);
  });

  it('a disk that fails is what the guest fails of', { timeout: TIMEOUT_MS }, async () => {
    const socket = join(dir, 's');
    const fails = join(dir, 'fails');
    const server = TestProcess.start([
      ...[program('nbdkit'), '-f', '-U', socket, '--filter=error', 'memory', '64M'],
      ...['error-pwrite=EIO', 'error-pwrite-rate=100%', `error-pwrite-file=${fails}`],
    ]);
    defer(() => server.kill());
    await waitFor('nbdkit', 5_000, () => existsSync(socket));
    const load = new GuestLoad(socket, '', SEED);
    defer(() => load.kill());
    await load.ready();
    writeFileSync(fails, '');
    const { failures } = await load.stop();
    expect(failures.join('\n')).toMatch(/I\/O error/);
    expect(failures.join('\n')).toMatch(/the guest ended with [1-9]/);
  });
});
