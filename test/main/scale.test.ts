import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/client.js';
import { GatepathUp, mutantOf } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const WAIT_MS = 60_000;

/** What is measured with 1,000 vdisks and 10,000 attachments by `npm run bench:scale` is counted here, with few. */
describe('many vdisks on one node', () => {
  const dir = makeTempDir('many');
  afterAll(() => removeTempDir(dir));

  it('creating, attaching and detaching one reads as much of the metadata with forty as with ten', async () => {
    const counter = join(dir, 'reads');
    const { argv, env } = mutantOf(new URL('./counted-reads.mjs', import.meta.url));
    const options = { dataDir: join(dir, 'reads-data'), vdisk: 'first', size: '64M' };
    const system = new GatepathUp({ ...options, command: argv()[1]!, env: { ...env, GATEPATH_TEST_READS: counter } });
    await system.start();
    const client = new ControlClient({ socketPath: join(options.dataDir, 'control.sock') });
    const reads = async (): Promise<number> => {
      rmSync(counter, { force: true });
      process.kill(system.process.pid, 'SIGUSR2');
      await waitFor('the count', WAIT_MS, () => existsSync(counter));
      return Number(readFileSync(counter, 'utf8'));
    };
    const make = async (from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i++) {
        await client.createVdisk({ name: `v${i}`, sizeBytes: 1 << 26 });
        await client.attach(`v${i}`, {});
      }
    };
    const costOf = async (name: string): Promise<number> => {
      const before = await reads();
      await client.createVdisk({ name, sizeBytes: 1 << 26 });
      await client.attach(name, {});
      await client.detach(name);
      return (await reads()) - before;
    };
    try {
      // Whether it is used up is asked for each new one.
      await client.setContainer('default', { quotaBytes: 2 ** 40 });
      await make(0, 10);
      const few = await costOf('few');
      await make(10, 40);
      const many = await costOf('many');
      // What waits for another one reads its record again now and then: more often where it takes longer.
      expect(many).toBeLessThan(few + 30);
      expect(few).toBeGreaterThan(5);
    } finally {
      await system.kill();
    }
  });

  it('fifty attachments leave nothing behind: no descriptor, no session, no export', async () => {
    const options = { dataDir: join(dir, 'leak-data'), vdisk: 'demo', size: '64M' };
    const system = new GatepathUp(options);
    await system.start();
    const client = new ControlClient({ socketPath: join(options.dataDir, 'control.sock') });
    const descriptors = (): number => readdirSync(`/proc/${system.process.pid}/fd`).length;
    const use = async (i: number): Promise<void> => {
      await client.attach('demo', {});
      if (i % 5 === 0) {
        const nbd = await NbdClient.connect({ socket: system.socket }, 'demo');
        await nbd.write(0, Buffer.alloc(4_096, i));
        await nbd.disconnect();
      }
      expect((await client.detach('demo')).released).toBe(true);
    };
    try {
      await client.detach('demo');
      // What the first ones open stays open.
      for (let i = 0; i < 10; i++) await use(i);
      const before = descriptors();
      for (let i = 0; i < 50; i++) await use(i);
      await waitFor('what is closed is gone', WAIT_MS, () => descriptors() <= before);
      const status = await client.status();
      expect(status.datapath).toMatchObject({ exports: [], sessions: [] });
      expect((await client.showVdisk('demo')).sessions).toBe(0);
    } finally {
      await system.kill();
    }
  });
});
