import { join } from 'node:path';
import { silentLogger } from '../../../src/base/log.js';
import { LmdbStore } from '../../../src/meta/lmdb.js';
import { MetaServer } from '../../../src/meta/wire-server.js';
import { WireStore } from '../../../src/meta/wire-store.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { describeStore } from './suite.js';

describeStore('wire, over a server on LMDB', () => rig([]));
describeStore('wire, over the second of two servers', () => rig(['nobody']));

async function rig(nobody: readonly string[]) {
  const directory = makeTempDir('wire');
  const socketPath = join(directory, 's');
  const store = LmdbStore.open(join(directory, 'meta'));
  const server = new MetaServer({ store, software: 'test', log: silentLogger });
  await server.listen(socketPath);
  const clients: WireStore[] = [];
  return {
    open: () => {
      const endpoints = [...nobody.map(name => join(directory, name)), socketPath];
      const client = new WireStore({ socketPath: endpoints[0]!, others: endpoints.slice(1).map(path => ({ path })), software: 'test' });
      clients.push(client);
      return Promise.resolve(client);
    },
    close: async () => {
      for (const client of clients) await client.close();
      await server.close();
      await store.close();
      removeTempDir(directory);
    },
  };
}
