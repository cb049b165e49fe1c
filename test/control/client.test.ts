import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;

describe('who manages a system', () => {
  const dir = makeTempDir('client');
  const socketPath = join(dir, 'private', 'control.sock');
  afterAll(() => removeTempDir(dir));

  it('hears that nobody listens, and what to do', async () => {
    const refused = { code: 'ERR_NOT_RUNNING', message: expect.stringContaining('nobody listens there') as string };
    await expect(new ControlClient({ socketPath }).listVdisks()).rejects.toMatchObject(refused);
  });

  it.skipIf(!isRoot)('hears that it is not for this user (needs root, to be another one)', async () => {
    mkdirSync(join(dir, 'private'), { mode: 0o700 });
    const server = createServer().listen(socketPath);
    await new Promise(resolve => server.once('listening', resolve));
    process.seteuid!(NOBODY);
    try {
      const refused = { code: 'ERR_NOT_ALLOWED', message: expect.stringContaining('this user may not manage') as string };
      await expect(new ControlClient({ socketPath }).listVdisks()).rejects.toMatchObject(refused);
    } finally {
      process.seteuid!(0);
      server.close();
    }
  });
});
