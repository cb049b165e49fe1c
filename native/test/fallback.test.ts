import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { run, script } from './support/child.js';

const PACKAGE = dirname(dirname(fileURLToPath(import.meta.url)));
const { EPERM, ENOSYS } = constants.errno;
const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;

interface Said {
  readonly kind: string;
  readonly reasons: readonly string[];
  readonly results: readonly number[];
  readonly refusal: string | null;
}

/** What a process of its own gets from `auto`, and that it works. */
async function ask(options: { before?: readonly string[]; environment?: Record<string, string>; directory?: string } = {}): Promise<Said> {
  const { before = [], environment = {}, directory = PACKAGE } = options;
  const ended = await run([...before, process.execPath, script('which-engine.mjs'), directory], environment);
  if (ended.code !== 0) throw new Error(`${ended.code ?? ended.signal}: ${ended.stderr}`);
  const said = JSON.parse(ended.stdout) as Said;
  expect(said.results).toEqual([4096, 4096]);
  return said;
}

describe('the engine that `auto` takes', () => {
  it('is io_uring where there is one, without a word', async () => {
    expect(await ask()).toMatchObject({ kind: 'io_uring', reasons: [], refusal: null });
  });

  it('is libuv where the addon is switched off', async () => {
    const said = await ask({ environment: { URING_ENGINE_NO_ADDON: '1' } });
    expect(said).toMatchObject({
      kind: 'libuv',
      reasons: ['the addon does not load (switched off by URING_ENGINE_NO_ADDON)'],
      refusal: 'ERR_UNSUPPORTED',
    });
  });

  it('is libuv where the addon was never built', async () => {
    const directory = fs.mkdtempSync(join(tmpdir(), 'ue-'));
    try {
      fs.cpSync(join(PACKAGE, 'dist'), join(directory, 'dist'), { recursive: true });
      fs.copyFileSync(join(PACKAGE, 'package.json'), join(directory, 'package.json'));
      fs.symlinkSync(join(PACKAGE, '..', 'node_modules'), join(directory, 'node_modules'));
      const said = await ask({ directory });
      expect(said).toMatchObject({ kind: 'libuv', refusal: 'ERR_UNSUPPORTED' });
      expect(said.reasons).toEqual([expect.stringContaining('No native build was found')]);
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  });

  it.skipIf(!has('python3')).each([
    ['EPERM', EPERM],
    ['ENOSYS', ENOSYS],
  ] as const)('is libuv where io_uring is refused by %s, and says so', async (code, errno) => {
    const said = await ask({ before: ['python3', script('without-io-uring.py'), String(errno)] });
    expect(said).toMatchObject({ kind: 'libuv', refusal: code });
    expect(said.reasons).toEqual([expect.stringMatching(/^io_uring_setup: .*seccomp/)]);
  });

  it.skipIf(!has('prlimit'))('is libuv where no memory may be locked and the kernel counts that of a ring, and says so', async () => {
    const noRights = process.getuid?.() === 0 && has('setpriv') ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all'] : [];
    const said = await ask({ before: [...noRights, 'prlimit', '--memlock=0:0'] });
    // Some kernels count it, others do not.
    if (said.kind === 'io_uring') expect(said).toMatchObject({ reasons: [], refusal: null });
    else expect(said).toMatchObject({ reasons: [expect.stringContaining('RLIMIT_MEMLOCK') as string], refusal: 'ENOMEM' });
    const enough = await ask({ before: [...noRights, 'prlimit', `--memlock=${1 << 20}:${1 << 20}`] });
    expect(enough).toMatchObject({ kind: 'io_uring', reasons: [] });
  });

  it.skipIf(!has('prlimit'))('is io_uring where a process may have fewer files than there are slots', async () => {
    expect(await ask({ before: ['prlimit', '--nofile=256:256'] })).toMatchObject({ kind: 'io_uring', reasons: [] });
  });
});
