import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { gatepath, GatepathUp } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const LIMIT_MS = 60_000;
const GIB = 2 ** 30;
const BLOCK_BYTES = 4_096;
/** A block in each: files, and a deletion takes one after the other. */
const SEGMENTS = 200;

interface Status {
  readonly vdisks: { readonly deleting: number };
  readonly space: { readonly returning: { readonly layers: number; readonly bytes: number } };
}
interface Event {
  readonly kind: string;
  readonly details?: Readonly<Record<string, number>>;
}

describe('a deletion', () => {
  const dir = makeTempDir('deletion');
  const data = join(dir, 'data');
  const system = new GatepathUp({ dataDir: data, vdisk: 'kept', size: '1G' });

  afterAll(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  const told = async <T>(...args: readonly string[]): Promise<T> => JSON.parse(await gatepath(...args, '--json', '--data', data)) as T;
  const files = (): number =>
    readdirSync(join(data, 'stargate', 'extents'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ext')).length;

  it(
    'that kill -9 cuts short goes on at the next start, says how much is left, and gives everything back',
    { timeout: 180_000 },
    async () => {
      await system.start();
      await gatepath('vdisk', 'create', 'victim', `${SEGMENTS}G`, '--data', data);
      await gatepath('attach', 'victim', '--data', data);
      const client = await NbdClient.connect({ socket: system.socket }, 'victim');
      await Promise.all(Array.from({ length: SEGMENTS }, (_, i) => client.write(i * GIB, Buffer.alloc(BLOCK_BYTES, 1))));
      await client.disconnect();
      await gatepath('detach', 'victim', '--data', data);
      await waitFor(
        'all of it is in the extents',
        LIMIT_MS,
        async () => files() === SEGMENTS && (await told<{ logBytes: number }>('vdisk', 'show', 'victim')).logBytes === 0,
        200,
      );
      const deleted = gatepath('vdisk', 'delete', 'victim', '--data', data);
      await waitFor('some of it is gone', LIMIT_MS, () => files() < SEGMENTS - 20, 1);
      await system.kill();
      await deleted.catch(() => undefined);
      const left = files();
      expect(left).toBeGreaterThan(0);

      await system.start();
      await waitFor('nothing is left', LIMIT_MS, async () => {
        const { vdisks, space } = await told<Status>('status');
        return vdisks.deleting === 0 && space.returning.layers === 0;
      });
      expect(files()).toBe(0);
      const events = await told<Event[]>('events');
      const space = events
        .filter(({ kind }) => kind.startsWith('space-'))
        .map(({ kind, details }) => [kind, details?.['leftBytes'] ?? details?.['freedBytes']]);
      expect(space).toEqual([
        ['space-returning', left * BLOCK_BYTES],
        ['space-returned', left * BLOCK_BYTES],
      ]);
      await system.stop();
      expect(await gatepath('verify', data)).toContain('clean');
    },
  );
});
