import { describe, expect, it } from 'vitest';
import { missingForGuests } from '../scenario.js';
import { runPowerLossRounds } from './rounds.js';
import { nbdkitInGuest, qemuNbdInGuest } from './stand-in.js';

const missing = missingForGuests('nbdkit', 'qemu-nbd');

// What the power-loss test can see, shown on servers that lose data. That it passes one that does not is seen in power-loss.test.ts.
describe.skipIf(missing.skip)(`power loss harness${missing.note}`, () => {
  it('catches a server that acknowledges what is only in memory', async () => {
    const result = await runPowerLossRounds({ server: nbdkitInGuest(), rounds: 1, seed: 11, kinds: ['direct'], maxLoadMs: 1500 });
    expect(result.faults.join('\n')).toMatch(/older than what was acknowledged/);
  });

  it('catches a server that writes directly but does not flush, on a disk that loses its cache', async () => {
    const result = await runPowerLossRounds({ server: qemuNbdInGuest(), rounds: 1, seed: 13, kinds: ['volatile'], maxLoadMs: 1500 });
    expect(result.faults.join('\n')).toMatch(/older than what was acknowledged/);
  });
});
