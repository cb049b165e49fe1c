import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BAD_USAGE } from '../../src/cli/output.js';
import { ControlClient } from '../../src/control/client.js';
import { BAD_CONFIGURATION } from '../../src/main/service/exit-status.js';
import { gatepath, gatepathArgv, runGatepath } from '../support/gatepath.js';
import { TestProcess } from '../support/process.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const WAIT_MS = 30_000;
const dir = makeTempDir('configuration');
afterAll(() => removeTempDir(dir));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

describe('gatepath config check', () => {
  it.each(['stargate', 'datapath'])('finds the example of %s valid', async kind => {
    const path = file(`${kind}.yaml`, await gatepath('config', 'example', kind));
    expect(await gatepath('config', 'check', path)).toBe(`${path} is a valid configuration of "gatepath ${kind}"\n`);
  });

  it.each([
    ['a key that there is not', 'data: /d\nsocket: /s\ncashe: 1G\n', 'line 3: cashe: is no key of this configuration'],
    ['a value in a section', 'socket: /s\nstargate: /t\nnbd:\n  maxConnections: 0\n', 'line 4: nbd.maxConnections: at least 1'],
    ['no YAML', 'data: [\n', 'line 2'],
    [
      'a certificate that is not there',
      'data: /d\nsocket: /s\ntls: { ca: /none, cert: /none, key: /none }\n',
      'tls.ca: the file /none cannot be read',
    ],
    ['metrics in the open', 'socket: /s\nstargate: /t\nmetrics: 0.0.0.0:9442\n', 'line 3: metrics: whoever reaches 0.0.0.0:9442'],
  ])('names the line, the key and what is wrong: %s', async (_what, text, message) => {
    const { code, stdout, stderr } = await runGatepath('config', 'check', file('wrong.yaml', text));
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });
});

describe('a service whose configuration is wrong', () => {
  it.each([
    ['stargate', 'a key that there is not', `data: ${dir}/no\nsocket: ${dir}/s\ncashe: 1G\n`, 'line 3: cashe'],
    ['datapath', 'no YAML', 'socket: [\n', 'line 2'],
    ['datapath', 'no file', null, 'cannot be read'],
  ])('ends with the status of a start that no other one would help: %s, %s', async (kind, _what, text, message) => {
    const path = text === null ? join(dir, 'none.yaml') : file('wrong.yaml', text);
    const { code, stderr } = await runGatepath(kind, '--config', path);
    expect(stderr).toContain(message);
    expect(code).toBe(BAD_CONFIGURATION);
    expect((await runGatepath(kind)).code).toBe(BAD_USAGE);
  });

  it('and with another one where the next start may help: the data directory cannot be made yet', async () => {
    const inFile = `${file('a-file', '')}/data`;
    const { code } = await runGatepath('stargate', '--config', file('good.yaml', `data: ${inFile}\nsocket: ${dir}/s.sock\n`));
    expect(code).toBe(1);
  });
});

describe('a Stargate that gets SIGHUP', () => {
  const data = join(dir, 'data');
  const write = (extra: string): string => file('live.yaml', `data: ${data}\nsocket: ${dir}/s.sock\noplog: 512M\ncache: 16M\n${extra}\n`);

  it('takes on the log level, the metrics and the scrub rate, says what needs a restart, and goes on with what it has when the file is wrong; journald gets priorities', async () => {
    const argv = gatepathArgv('stargate', '--config', write('logLevel: info')).join(' ');
    const child = TestProcess.start([
      'sh',
      '-c',
      `JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM && exec ${argv}`,
    ]);
    const says = (text: string): Promise<unknown> => child.waitUntil(text, WAIT_MS, () => child.stderr.includes(text));
    const hangUp = async (extra: string, ...texts: readonly string[]): Promise<void> => {
      write(extra);
      process.kill(child.pid, 'SIGHUP');
      for (const text of texts) await says(text);
    };
    const scrubs = async (): Promise<(number | undefined)[]> => {
      const { shards } = await new ControlClient({ socketPath: join(data, 'control.sock') }).counters();
      return shards.map(({ storage }) => storage?.scrub?.bytesPerSecond);
    };
    await says('"msg":"serving"');
    expect(await scrubs()).toEqual([2 << 20, 2 << 20]);
    for (const [rate, ofShard] of [
      ['off', undefined],
      ['16M', 8 << 20],
    ] as const) {
      await hangUp(`logLevel: info\nscrub: ${rate}`, '"changed":["scrub"]');
      await waitFor('the scrub rate', WAIT_MS, async () => (await scrubs()).every(one => one === ofShard));
    }
    expect(child.stderr).toMatch(/^<6>\{"level":30,.*"msg":"serving"/m);
    await hangUp('logLevel: info\nscrub: 16M\nmetrics: 0', '"url":"http://127.0.0.1:');
    await hangUp('logLevel: loud', 'logLevel: it has to be debug, info, warn or error');
    expect(child.stderr).toMatch(/^<3>\{"level":50,.*"msg":"the configuration was read again, and is not used"/m);
    const url = /"url":"(http:[^"]+)"/.exec(child.stderr)![1]!;
    expect((await fetch(url)).status).toBe(200);
    await hangUp('logLevel: debug\nscrub: 16M\nshards: 3', '"changed":["logLevel","metrics"]', '"keys":["shards"]');
    await expect(fetch(url)).rejects.toThrow();
    write('logLevel: error');
    process.kill(child.pid, 'SIGHUP');
    await new Promise(resolve => setTimeout(resolve, 500));
    expect(await child.stop(WAIT_MS, 'SIGTERM')).toEqual({ code: 0, signal: null });
    expect(child.stderr).not.toContain('"msg":"stopping"');
  });
});
