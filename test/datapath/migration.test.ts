import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatepath, runGatepath } from '../support/gatepath.js';
import { GatepathCluster } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { OtherDatapath } from '../support/other-datapath.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 90_000;
const PAGE = 4_096;
const BLOCKS = 16;
const PERMISSION = 1;
const SHUTDOWN = 108;

interface VdiskView {
  readonly controller: string;
  readonly attachments: readonly { readonly host: string; readonly mode: string }[];
}

/** What a guest that is migrated does with its disk: two nodes that hold it, two hosts that use it. */
describe.skipIf(missing.length > 0)(`a vdisk that changes hosts${missingNote(missing)}`, () => {
  const dir = makeTempDir('dp-move');
  const data = join(dir, 'c');
  const cluster = new GatepathCluster({ dataDir: data, nodes: 2, extraArgs: ['--rf', '2', '--vdisk', 'disk:64M'] });
  let b: OtherDatapath;

  beforeAll(async () => {
    await cluster.start();
    b = new OtherDatapath(join(dir, 'b'), 'host-b', join(data, 'datapath', 'datapath.yaml'));
    await b.start(data);
  });
  afterAll(async () => {
    await b.kill();
    await cluster.kill();
    removeTempDir(dir);
  });

  const show = async (): Promise<VdiskView> => JSON.parse(await gatepath('vdisk', 'show', 'disk', '--json', '--data', data)) as VdiskView;
  const modes = async (): Promise<string[]> => (await show()).attachments.map(({ mode }) => mode);
  const connectA = (): Promise<NbdClient> => NbdClient.connect({ socket: cluster.nbdSocket }, 'disk');
  const page = (fill: number): Buffer => Buffer.alloc(PAGE, fill);
  const codeOf = (done: Promise<unknown>): Promise<unknown> =>
    done.then(
      () => 0,
      (error: { errnoCode?: number }) => error.errnoCode ?? error,
    );

  it('is read at both while one writes, and changes hands at once; the host that had it is told', async () => {
    const a = await connectA();
    await a.write(0, page(1));
    await gatepath('attach', 'disk', '--shared', '--host', 'host-b', '--data', data);
    expect(await modes()).toEqual(['holder', 'shared']);
    const there = await b.connect('disk');
    for (let fill = 2; fill < 10; fill++) {
      await a.write(0, page(fill));
      expect((await there.read(0, PAGE)).equals(page(fill))).toBe(true);
    }
    expect(await codeOf(there.write(PAGE, page(99)))).toBe(PERMISSION);

    // Requests under way at that moment have their outcome: done, and then the other host sees it; or not, and it does not.
    const underWay = Array.from({ length: 32 }, (_, i) => codeOf(a.write((2 + i) * PAGE, page(100 + i))));
    await gatepath('vdisk', 'activate', 'disk', '--data', data);
    await gatepath('vdisk', 'activate', 'disk', '--host', 'host-b', '--data', data);
    expect(await modes()).toEqual(['holder', 'over']);
    for (const [i, done] of underWay.entries()) {
      const code = await done;
      expect([0, SHUTDOWN]).toContain(code);
      if (code === 0) expect((await there.read((2 + i) * PAGE, PAGE)).equals(page(100 + i))).toBe(true);
    }
    await there.write(0, page(42));
    expect((await there.read(0, PAGE)).equals(page(42))).toBe(true);
    expect(await codeOf(a.write(0, page(7)))).toBe(SHUTDOWN);
    expect(await codeOf(a.read(0, PAGE))).toBe(SHUTDOWN);
    // A new connection of the former host, too; and it says why.
    expect(await codeOf((await connectA()).write(0, page(7)))).toBe(SHUTDOWN);
    expect((await runGatepath('status', '--data', join(data, 'datapath'))).stdout).toContain('ERR_SUPERSEDED');
    expect((await runGatepath('vdisk', 'activate', 'disk', '--host', 'nobody', '--data', data)).code).toBe(1);
    await gatepath('detach', 'disk', '--host', (await show()).attachments[1]!.host, '--data', data);
    expect(await modes()).toEqual(['holder']);
    expect((await there.read(0, PAGE)).equals(page(42))).toBe(true);
    await there.disconnect();
  });

  it('changes hands while its controller dies: no acknowledged write is missing, one host holds it', async () => {
    // Back again: host-b has it, and the first host gets it as shared.
    const there = await b.connect('disk');
    const status = JSON.parse(await gatepath('status', '--json', '--data', join(data, 'datapath'))) as { datapath: { host: string } };
    const { host } = status.datapath;
    await gatepath('attach', 'disk', '--shared', '--host', host, '--data', data);
    const a = await connectA();
    await a.read(0, PAGE);

    const fillOf = (n: number): number => 1 + (Math.floor(n / BLOCKS) % 250);
    const acknowledged = new Map<number, number>();
    let last = 0;
    const writer = async (): Promise<unknown> => {
      for (;;) {
        const n = ++last;
        const code = await codeOf(there.write((n % BLOCKS) * PAGE, page(fillOf(n))));
        if (code !== 0) return code;
        acknowledged.set(n % BLOCKS, n);
      }
    };
    const end = writer();
    await waitFor('all blocks are written', WAIT_MS, () => acknowledged.size === BLOCKS);
    const { controller } = await show();
    process.kill(cluster.file.nodes.find(({ id }) => id === controller)!.pid, 'SIGKILL');
    const activate = (): Promise<{ code: number | null }> => runGatepath('vdisk', 'activate', 'disk', '--host', host, '--data', data);
    await waitFor('the activation is done', WAIT_MS, async () => (await activate()).code === 0);
    expect(await end).toBe(SHUTDOWN);
    for (const [block, n] of acknowledged) {
      const read = await a.read(block * PAGE, PAGE);
      const mayBe = [page(fillOf(n)), ...(last % BLOCKS === block ? [page(fillOf(last))] : [])];
      expect(
        mayBe.some(one => one.equals(read)),
        `block ${block} reads as ${read[0]}`,
      ).toBe(true);
    }
    await a.write(0, page(77));
    expect(await codeOf(there.write(0, page(78)))).toBe(SHUTDOWN);
    expect((await a.read(0, PAGE)).equals(page(77))).toBe(true);
  });
});
