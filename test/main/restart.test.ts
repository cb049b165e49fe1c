import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { groupRecord, keys, nodeRecord, type GroupRecord, type NodeRecord } from '../../src/meta/model.js';
import { listVdisks } from '../../src/meta/operations.js';
import { GatepathUp } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const START_MS = 30_000;
const PAGE_BYTES = 4096;

interface Known {
  readonly boot: { readonly incarnation: number; readonly bootCount: number };
  readonly node: NodeRecord;
  readonly group: GroupRecord;
}

/** What the directory of a node that does not run says of the node and its only vdisk. */
async function known(data: string): Promise<Known> {
  const store = LmdbStore.open(join(data, 'meta'));
  try {
    const [vdisk] = await listVdisks(store);
    return {
      boot: bootOf(data),
      node: nodeRecord.parse((await store.get(keys.node('node-1')))!.value),
      group: groupRecord.parse((await store.get(keys.group(vdisk!.id)))!.value),
    };
  } finally {
    await store.close();
  }
}

/** Without its checksum. */
function bootOf(data: string): Known['boot'] {
  const { incarnation, bootCount } = JSON.parse(readFileSync(join(data, 'boot.json'), 'utf8')) as Known['boot'];
  return { incarnation, bootCount };
}

describe('a node that starts again', () => {
  const dir = makeTempDir('boot');
  const data = join(dir, 'data');
  const system = new GatepathUp({ dataDir: data, vdisk: 'demo', size: '64M', extraArgs: ['--log-level', 'info'] });
  afterEach(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  /** Starts it in a state in which it will not serve the vdisk, and waits until it says so. */
  async function startRefused(): Promise<string> {
    const starting = system.start().catch(() => undefined);
    await system.process.waitUntil('a refusal', START_MS, () => system.process.output.includes('a vdisk is not served'));
    const { output } = system.process;
    await system.kill();
    await starting;
    return output;
  }

  it('counts its starts, and wins terms as long as its logs are whole and it is who it was', async () => {
    for (let start = 1; start <= 3; start++) {
      await system.start();
      const client = await NbdClient.connect({ socket: system.socket }, 'demo');
      await client.write(start * PAGE_BYTES, Buffer.alloc(PAGE_BYTES, start));
      await system.kill();
      client.destroy();
      const { boot, node, group } = await known(data);
      expect([boot, group.term]).toEqual([{ incarnation: 1, bootCount: start }, start]);
      expect(node).toMatchObject(boot);
      expect(group.members).toEqual([{ node: 'node-1', storeUuid: node.storeUuid, incarnation: 1 }]);
    }

    // The first batches of the log rot: there is more behind them, so they are not torn.
    for (const stream of readdirSync(join(data, 'stargate', 'oplog'))) {
      const fd = openSync(join(data, 'stargate', 'oplog', stream, '00000001.seg'), 'r+');
      writeSync(fd, Buffer.alloc(PAGE_BYTES, 0x5a), 0, PAGE_BYTES, PAGE_BYTES);
      closeSync(fd);
    }
    expect(await startRefused()).toMatch(/its log is damaged|of its log are missing/);
    expect(await known(data)).toMatchObject({ boot: { incarnation: 1, bootCount: 4 }, group: { term: 3 } });

    // Somebody makes room.
    rmSync(join(data, 'stargate'), { recursive: true });
    const output = await startRefused();
    expect(output).toMatch(/its data is with node \\?"node-1\\?", store [-0-9a-f]+, incarnation 1; this is .*, incarnation 2/);
    expect(await known(data)).toMatchObject({ boot: { incarnation: 2, bootCount: 6 }, node: { incarnation: 2 }, group: { term: 3 } });
    expect(existsSync(join(data, 'stargate', 'oplog'))).toBe(true);
  });
});
