import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { missingForGuests } from '../scenario.js';
import { buildAppImage } from './app-image.js';
import { gatepathInGuest } from './gatepath-in-guest.js';
import { runPowerLossRounds } from './rounds.js';

const missing = missingForGuests('nbdkit');

// The long form is `npm run power-loss`.
describe.skipIf(missing.skip)(`power loss of Gatepath's machine${missing.note}`, () => {
  const dir = makeTempDir('app');
  afterAll(() => removeTempDir(dir));

  it('two power cuts under load: every acknowledged write is there', async () => {
    const image = join(dir, 'app.img');
    await buildAppImage(image);
    const seed = seedFromEnvironment();
    const result = await runPowerLossRounds({ server: gatepathInGuest(image), rounds: 2, seed, kinds: ['volatile', 'direct'] });
    expect(result.faults, `seed ${seed}`).toEqual([]);
    expect(result.acknowledgedWrites).toBeGreaterThanOrEqual(60);
  }, 1_200_000);
});
