import { afterAll, describe, expect, it } from 'vitest';
import { GatepathUp, runGatepath } from '../../support/gatepath.js';
import { seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { runCrashRounds } from './rounds.js';

// The long form is `npm run crash -- --rounds 200`.
describe('gatepath up, killed again and again', () => {
  const dir = makeTempDir('crash');
  afterAll(() => removeTempDir(dir));

  it('has every acknowledged write after each of 12 kills, and leaves what the offline verifier finds in order', async () => {
    const seed = seedFromEnvironment();
    const system = new GatepathUp({ dataDir: `${dir}/data`, vdisk: 'crash', size: '1G' });
    const lines: string[] = [];
    const verifyLeft = async (): Promise<string[]> => {
      const { code, stdout, stderr } = await runGatepath('verify', `${dir}/data`);
      return code === 0 ? [] : [`verify: ${stdout}${stderr}`];
    };
    const result = await runCrashRounds({ system, rounds: 12, seed, log: line => lines.push(line), verifyLeft });
    expect(result.faults, `seed ${seed}\n${lines.join('\n')}`).toEqual([]);
    expect(result.acknowledgedWrites).toBeGreaterThan(12 * 20);
    expect(result.unanswered).toBeGreaterThan(0);
    await system.stop();
  });
});
