import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { gatepathArgv, readClusterFile } from '../support/gatepath.js';
import { TestProcess } from '../support/process.js';
import { findProgram, missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const START_TIMEOUT_MS = 60_000;
const MESSAGE = 'exporting a vdisk';
const missing = missingPrograms('script');
const COLOUR = '\u001b[';

describe('what is logged', () => {
  const dir = makeTempDir('log');
  afterAll(() => removeTempDir(dir));

  /** The line of one run of `gatepath up` with the message, from a terminal of its own or a pipe. */
  async function logLine(name: string, where: 'terminal' | 'pipe', args: readonly string[] = [], env = {}): Promise<string> {
    const data = join(dir, name);
    const argv = gatepathArgv('up', '--data', data, '--vdisk', 'demo:64M', '--log-level', 'info', ...args);
    const onTerminal = (): readonly string[] => [findProgram('script')!, '-qec', argv.join(' '), '/dev/null'];
    const up = TestProcess.start(where === 'terminal' ? onTerminal() : argv, { holdStdin: true, env: { NO_COLOR: '', ...env } });
    const pid = await up.waitUntil('gatepath up serves', START_TIMEOUT_MS, () => readClusterFile(data)?.datapath.pid);
    process.kill(pid, 'SIGINT');
    expect(await up.exited).toEqual({ code: 0, signal: null });
    // A terminal has one stream for both.
    const text = where === 'terminal' ? up.stdout : up.stderr;
    const line = await waitFor('the line', 1_000, () => text.split(/\r?\n/).find(one => one.includes(MESSAGE)));
    expect(text).toContain('stopping');
    return line;
  }

  it.skipIf(missing.length > 0)(
    `is for people on a terminal, with level and time${missingNote(missing)}`,
    async () => {
      const line = await logLine('terminal', 'terminal');
      expect(line).toContain(COLOUR);
      // eslint-disable-next-line no-control-regex
      const plain = line.replace(/\u001b\[\d+m/g, '');
      expect(plain).toMatch(
        /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] INFO: exporting a vdisk \{"vdisk":"demo","generation":1,"sizeBytes":67108864,"shared":false\}$/,
      );
      expect(await logLine('no-color', 'terminal', [], { NO_COLOR: '1' })).toMatch(/^\[[-\d :.]+\] INFO: exporting a vdisk \{/);
    },
    60_000,
  );

  it('is JSON in a pipe', async () => {
    const record = JSON.parse(await logLine('pipe', 'pipe')) as Record<string, unknown>;
    expect(record).toMatchObject({ level: 30, msg: MESSAGE, vdisk: 'demo', generation: 1 });
    expect(new Date(record['time'] as string).getTime()).toBeGreaterThan(Date.now() - 60_000);
  });

  it.skipIf(missing.length > 0)(
    `is as --log-format says, wherever it goes${missingNote(missing)}`,
    async () => {
      expect(JSON.parse(await logLine('json', 'terminal', ['--log-format', 'json']))).toMatchObject({ msg: MESSAGE });
      expect(await logLine('pretty', 'pipe', ['--log-format', 'pretty'])).toMatch(/^\[[-\d :.]+\] INFO: exporting a vdisk \{/);
    },
    60_000,
  );
});
