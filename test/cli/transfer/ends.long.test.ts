import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { gatepath, gatepathArgv, GatepathUp } from '../../support/gatepath.js';
import { TestProcess } from '../../support/process.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep, waitFor } from '../../support/wait.js';

const missing = missingPrograms('qemu-img', 'nbdkit');
/** A lease lapses after half a minute; the machine may be busy. */
const LAPSE_MS = 120_000;

describe.skipIf(missing.length > 0)(`an import or export that does not come to its end${missingNote(missing)}`, () => {
  const dir = makeTempDir('ends');
  const dataDir = join(dir, 'd');
  const system = new GatepathUp({ dataDir, vdisk: 'demo', size: '64M' });
  const servers: TestProcess[] = [];

  beforeAll(async () => {
    await system.start();
    await gatepath('vdisk', 'create', 'big', '64M', '--data', dataDir);
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.kill();
  });
  afterAll(async () => {
    await system.stop();
    removeTempDir(dir);
  });

  interface Listed {
    readonly name: string;
    readonly attachment: unknown;
    readonly lease: { readonly vdiskName: string } | null;
  }
  const list = async (): Promise<Listed[]> => JSON.parse(await gatepath('vdisk', 'list', '--json', '--data', dataDir)) as Listed[];
  const names = async (): Promise<string[]> => (await list()).map(({ name }) => name).sort();
  const start = (...args: string[]): TestProcess => TestProcess.start(gatepathArgv('vdisk', ...args, '--data', dataDir));

  /** An NBD export whose requests take five seconds each, of which sixteen are under way at a time. */
  async function slowly(plugin: string, ...delays: string[]): Promise<string> {
    const slow = join(dir, `${plugin}.sock`);
    rmSync(slow, { force: true });
    const server = TestProcess.start(['nbdkit', '-f', '-U', slow, '--filter=delay', plugin, 'size=128M', ...delays]);
    await server.waitUntil('its socket', 20_000, () => existsSync(slow));
    servers.push(server);
    return `nbd+unix:///?socket=${slow}`;
  }
  const slowSource = (): Promise<string> => slowly('pattern', 'delay-read=5');
  const slowTarget = (): Promise<string> => slowly('memory', 'delay-write=5', 'delay-zero=5', 'delay-trim=5');

  /** Its vdisk is there, under a name of its own, and its owner to be seen. */
  async function underWay(process: TestProcess, name: string): Promise<void> {
    await process.waitUntil('the lease', 30_000, async () => (await list()).some(({ lease }) => lease?.vdiskName === name));
    await sleep(500);
    expect(await names()).not.toContain(name);
  }

  it('Ctrl-C, a source that dies: nothing of it is left when the client has ended', async () => {
    const uri = await slowSource();
    const interrupted = start('import', 'web1', uri);
    await underWay(interrupted, 'web1');
    expect(await gatepath('vdisk', 'list', '--data', dataDir)).toContain('importing web1');
    expect(await start('import', 'web1', uri).exited).toMatchObject({ code: 1 });
    interrupted.signal('SIGINT');
    expect(await interrupted.exited).toMatchObject({ code: 1 });
    expect(interrupted.stderr).toContain('interrupted by SIGINT');
    expect(await names()).toEqual(['big', 'demo']);
    const bereft = start('import', 'web1', uri);
    await underWay(bereft, 'web1');
    await servers.at(-1)!.kill();
    expect(await bereft.exited).toMatchObject({ code: 1 });
    expect(bereft.stderr).toMatch(/^error: not copied: .*reading/);
    expect(await names()).toEqual(['big', 'demo']);
  });

  it('an import whose vdisk somebody deletes ends, and says so', async () => {
    const one = start('import', 'web1', await slowSource());
    await underWay(one, 'web1');
    const [{ name: own }] = (await list()).filter(({ lease }) => lease !== null) as [Listed];
    await gatepath('detach', own, '--data', dataDir);
    await gatepath('vdisk', 'delete', own, '--data', dataDir);
    expect(await one.exited).toMatchObject({ code: 1 });
    expect(await names()).toEqual(['big', 'demo']);
  });

  it('kill -9 of the client: the system undoes it, and takes nothing from one that lives', async () => {
    const uri = await slowSource();
    const living = TestProcess.start([
      'sh',
      '-c',
      '{ printf begin; sleep 50; printf end; } | exec "$@"',
      'sh',
      ...gatepathArgv('vdisk', 'import', 'living', '-', '--data', dataDir),
    ]);
    const killed = start('import', 'web1', uri);
    const exporting = start('export', 'big', await slowTarget());
    await underWay(killed, 'web1');
    await underWay(living, 'living');
    await waitFor('the export', 30_000, async () => (await list()).some(({ name, lease }) => name === 'big' && lease !== null));
    await expect(gatepath('attach', 'big', '--data', dataDir)).rejects.toThrow('is being exported');
    killed.killNow();
    exporting.killNow();
    await waitFor('the end of both', LAPSE_MS, async () =>
      (await list()).filter(({ lease }) => lease !== null).every(({ lease }) => lease!.vdiskName === 'living'),
    );
    await gatepath('attach', 'big', '--data', dataDir);
    await gatepath('detach', 'big', '--data', dataDir);
    expect(await living.exited).toMatchObject({ code: 0 });
    expect(await names()).toEqual(['big', 'demo', 'living']);
  });

  it('kill -9 of the node: the client fails, and the node undoes it when it runs again', async () => {
    const uri = await slowSource();
    const bereft = start('import', 'web1', uri);
    const exporting = start('export', 'big', join(dir, 'never.raw'));
    await underWay(bereft, 'web1');
    await system.kill();
    expect(await bereft.exited).toMatchObject({ code: 1 });
    expect(bereft.stderr).toContain('is ended by the system');
    await exporting.exited;
    await system.start();
    await waitFor('the end of the import', LAPSE_MS, async () => (await list()).every(({ lease }) => lease === null));
    expect(await names()).toEqual(['big', 'demo', 'living']);
    expect(readdirSync(dir).filter(name => name.includes('partial'))).toEqual([]);
  });
});
