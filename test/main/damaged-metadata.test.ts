import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { open } from 'lmdb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/client.js';
import { keys } from '../../src/meta/model.js';
import type { UnreadVdiskView } from '../../src/control/vdisk-schemas.js';
import { gatepath, GatepathUp } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

/** Each has data that is in the log only when the process is killed. */
const NAMES = ['good', 'vdisk', 'group', 'container', 'attachment'] as const;
const BYTES = 256 << 10;

describe('a node of which records of the metadata are damaged', () => {
  const data = makeTempDir('damaged-metadata');
  const system = new GatepathUp({ dataDir: data, vdisk: 'good', size: '64M', extraArgs: ['--vdisk', 'vdisk:64M'] });
  const content = new Map(NAMES.map(name => [name, randomBytes(BYTES)]));
  const ids = new Map<string, string>();
  const whole = new Map<string, Buffer>();

  beforeAll(async () => {
    await system.start();
    await client().createContainer({ name: 'other' });
    for (const name of NAMES.slice(2)) {
      await client().createVdisk({ name, sizeBytes: 64 << 20, ...(name === 'container' ? { container: 'other' } : {}) });
      await client().attach(name, {});
    }
    for (const { name, id } of await client().listVdisks()) ids.set(name, id);
  });
  afterAll(async () => {
    await system.kill();
    removeTempDir(data);
  });

  const client = (): ControlClient => new ControlClient({ socketPath: join(data, 'control.sock') });

  async function withMetadata<T>(body: (database: ReturnType<typeof open<Buffer, string>>) => T): Promise<T> {
    const database = open<Buffer, string>({ path: join(data, 'meta'), encoding: 'binary', maxDbs: 1 });
    try {
      return body(database);
    } finally {
      await database.close();
    }
  }

  const damage = (key: string): Promise<unknown> =>
    withMetadata(database => {
      const bytes = Buffer.from(database.get(key)!);
      whole.set(key, Buffer.from(bytes));
      bytes[bytes.length - 3]! ^= 1;
      return database.putSync(key, bytes);
    });

  async function withClient<T>(name: string, body: (nbd: NbdClient) => Promise<T>): Promise<T> {
    const nbd = await NbdClient.connect({ socket: system.socket }, name);
    try {
      return await body(nbd);
    } finally {
      nbd.destroy();
    }
  }
  const write = (name: (typeof NAMES)[number]): Promise<unknown> => withClient(name, nbd => nbd.write(0, content.get(name)!));
  const isWhole = (name: (typeof NAMES)[number]): Promise<boolean> =>
    withClient(name, async nbd => (await nbd.read(0, BYTES)).equals(content.get(name)!));

  const damagedKeys = (): string[] => [
    keys.vdisk(ids.get('vdisk')!),
    keys.group(ids.get('group')!),
    keys.container('other'),
    keys.attachment(hostOf(), ids.get('attachment')!),
  ];
  let host = '';
  const hostOf = (): string => host;

  it('goes on with all of them while it runs', async () => {
    host = (await client().showVdisk('good')).attachment!.host;
    for (const key of damagedKeys()) await damage(key);
    for (const name of NAMES) await write(name);
    for (const name of NAMES) expect(await isWhole(name), name).toBe(true);
    const shown = await client().showVdisk('group');
    expect(shown).toMatchObject({ health: 'degraded', problem: expect.stringContaining(keys.group(shown.id)) as string });
    expect((await client().listing()).unread).toMatchObject([{ id: ids.get('vdisk'), name: 'vdisk', health: 'degraded' }]);
  });

  it('starts, serves what it can, and says of each why not, by its key', async () => {
    await system.kill();
    await system.start();
    expect(await isWhole('good')).toBe(true);
    await write('good');

    const told = await waitFor('the damage is told', 60_000, async () => {
      const now = await client().status();
      return now.damagedRecords.length > 0 && now;
    });
    expect(told.damagedRecords.map(({ key }) => key).sort()).toEqual(damagedKeys().sort());
    expect(told.health).toBe('unavailable');
    for (const key of damagedKeys()) expect(told.problems).toContainEqual(expect.stringContaining(`${key} is damaged`));
    const { events } = await client().events({});
    const keysTold = events.filter(({ kind }) => kind === 'metadata-damaged').map(({ details }) => details?.['key']);
    expect(keysTold.sort()).toEqual(damagedKeys().sort());

    const listed = await gatepath('vdisk', 'list', '--data', data);
    expect(listed).toMatch(new RegExp(`^vdisk, id ${ids.get('vdisk')}: unavailable: the metadata record vdisk/\\S+ is damaged: `, 'm'));
    const [unread] = (JSON.parse(await gatepath('vdisk', 'list', '--json', '--data', data)) as UnreadVdiskView[]).slice(-1);
    expect(unread).toMatchObject({ id: ids.get('vdisk'), name: 'vdisk', health: 'unavailable' });

    for (const name of ['group', 'container']) {
      const problem = expect.stringMatching(/^the metadata record (group|container)\/\S+ is damaged/) as string;
      expect(await client().showVdisk(name)).toMatchObject({ health: 'unavailable', problem });
    }
    for (const name of ['vdisk', 'attachment']) {
      const message = expect.stringMatching(/the metadata record (vdisk|attachment)\/\S+ is damaged/) as string;
      await expect(client().showVdisk(name)).rejects.toMatchObject({ code: 'ERR_METADATA', message });
    }
  });

  it('gives nothing up, and has all of it again when they are put back', async () => {
    for (const name of ['vdisk', 'attachment']) {
      await expect(client().deleteVdisk(name)).rejects.toMatchObject({ code: 'ERR_METADATA' });
    }
    await system.stop();
    await withMetadata(database => {
      for (const [key, bytes] of whole) {
        expect(Buffer.from(database.get(key)!).equals(bytes)).toBe(false);
        database.putSync(key, bytes);
      }
    });
    await system.start();
    for (const name of NAMES) expect(await isWhole(name), name).toBe(true);
    expect(await client().status()).toMatchObject({ health: 'healthy', damagedRecords: [] });
  });
});
