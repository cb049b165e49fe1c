import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { silentLogger } from '../../../src/base/log.js';
import { EtcdStore } from '../../../src/meta/etcd.js';
import { MetaServer } from '../../../src/meta/wire-server.js';
import { WireStore } from '../../../src/meta/wire-store.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../../support/etcd.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import type { Subject } from './bench.js';
import { describeStore } from './suite.js';

const missing = missingPrograms(...ETCD_PROGRAMS);

describe.skipIf(missing.length > 0)(`a real etcd${missingNote(missing)}`, () => {
  let cluster: EtcdCluster;
  let lastNamespace = 0;

  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());

  /** Each its own part of one etcd. */
  async function start(): Promise<Subject & { readonly open: () => Promise<EtcdStore> }> {
    const namespace = `test${++lastNamespace}/`;
    const stores: EtcdStore[] = [];
    return Promise.resolve({
      open: async () => {
        const store = await EtcdStore.open({ endpoints: cluster.urls, namespace });
        stores.push(store);
        return store;
      },
      close: async () => {
        for (const store of stores) await store.close();
      },
    });
  }

  describeStore('etcd', start);

  describeStore('wire, over a server on etcd', async () => {
    const etcd = await start();
    const directory = makeTempDir('wire');
    const socketPath = join(directory, 's');
    const server = new MetaServer({ store: await etcd.open(), software: 'test', log: silentLogger });
    await server.listen(socketPath);
    const clients: WireStore[] = [];
    return {
      open: () => {
        const client = new WireStore({ socketPath, software: 'test' });
        clients.push(client);
        return Promise.resolve(client);
      },
      close: async () => {
        for (const client of clients) await client.close();
        await server.close();
        await etcd.close();
        removeTempDir(directory);
      },
    };
  });
});
