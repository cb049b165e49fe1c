import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { BAD_USAGE } from '../../../src/cli/output.js';
import { BAD_CONFIGURATION } from '../../../src/main/service/exit-status.js';
import { run } from '../../support/process.js';
import { missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const UNITS = fileURLToPath(new URL('../../../systemd/', import.meta.url));
const COMMAND = fileURLToPath(new URL('../../../dist/bundle/gatepath.js', import.meta.url));
const dir = makeTempDir('units');
afterAll(() => removeTempDir(dir));

/** What systemd has to say of a unit, its command where it is here. */
async function verify(kind: string, change: (text: string) => string = text => text): Promise<string> {
  // Alone: systemd reads its neighbours as well.
  const path = join(mkdtempSync(join(dir, 'unit-')), `gatepath-${kind}.service`);
  const text = readFileSync(join(UNITS, `gatepath-${kind}.service`), 'utf8');
  expect(text).toMatch(new RegExp(`^ExecStart=gatepath ${kind} --config `, 'm'));
  writeFileSync(path, change(text.replace('ExecStart=gatepath', `ExecStart=${process.execPath} ${COMMAND}`)));
  const { code, stdout, stderr } = await run(['systemd-analyze', 'verify', '--man=no', path]);
  return `${code}: ${stdout}${stderr}`;
}

describe.skipIf(missingPrograms('systemd-analyze').length > 0)('units', () => {
  it.each(['stargate', 'datapath'])('systemd finds nothing wrong with the unit of the %s', async kind => {
    expect(await verify(kind)).toBe('0: ');
    expect(readFileSync(join(UNITS, `gatepath-${kind}.service`), 'utf8')).toMatch(
      new RegExp(`^Restart=(on-failure|always)\\n[^]*^RestartPreventExitStatus=${BAD_USAGE} ${BAD_CONFIGURATION}$`, 'm'),
    );
    expect(await verify(kind, text => text.replace('WatchdogSec=30', 'WatchdogSecs=30'))).toContain('WatchdogSecs');
  });
});
