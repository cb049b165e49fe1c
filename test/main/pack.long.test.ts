import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { GatepathUp } from '../support/gatepath.js';
import { check } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const missing = missingPrograms('npm', 'tar', 'g++', 'nbdinfo');

describe.skipIf(missing.length > 0)(`the package (its dependencies come from the registry)${missingNote(missing)}`, () => {
  const dir = makeTempDir('pack');
  const prefix = join(dir, 'prefix');
  const installed = join(prefix, 'lib', 'node_modules', 'gatepath');
  const system = new GatepathUp({
    dataDir: join(dir, 'data'),
    vdisk: 'demo',
    size: '64M',
    command: join(installed, 'dist', 'bundle', 'gatepath.js'),
    extraArgs: ['--engine', 'io_uring'],
  });
  afterAll(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  it('is one tarball that npm installs without its scripts: the command serves, by its own addon; units, man page and documents are there', async () => {
    mkdirSync(prefix);
    const tarball = (await check([process.execPath, join(ROOT, 'scripts', 'pack.mjs'), dir], { timeoutMs: 300_000 })).trim();
    await check(['npm', 'install', '--global', '--ignore-scripts', '--prefix', prefix, tarball], { cwd: dir, timeoutMs: 300_000 });
    expect(await check([join(prefix, 'bin', 'gatepath'), '--version'])).toMatch(/^\d+\.\d+\.\d+\n$/);
    for (const file of ['systemd/gatepath-stargate.service', 'dist/man/gatepath.1', 'docs/operations.md', 'README.md'])
      expect(existsSync(join(installed, file)), file).toBe(true);
    expect(existsSync(join(prefix, 'share', 'man', 'man1', 'gatepath.1'))).toBe(true);
    await system.start();
    expect(await check(['nbdinfo', '--size', `nbd+unix:///demo?socket=${system.socket}`])).toBe(`${64 << 20}\n`);
    await system.stop();
  });
});
