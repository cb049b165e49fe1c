import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { askNode } from '../../src/meta/ask.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { MetaServer, type MetaServerOptions } from '../../src/meta/wire-server.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const VDISK = 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111';
const directory = makeTempDir('ask');
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});
afterAll(() => removeTempDir(directory));

async function serve(name: string, answer?: MetaServerOptions['answer']): Promise<string> {
  const store = LmdbStore.open(join(directory, name));
  const server = new MetaServer({ store, software: 'test', log: silentLogger, ...(answer === undefined ? {} : { answer }) });
  const path = join(directory, `${name}.sock`);
  await server.listen(path);
  closing.push(
    () => store.close(),
    () => server.close(),
  );
  return path;
}

const ask = (path: string, timeoutMs = 5_000) =>
  askNode(connect({ path }), { about: 'copy', vdiskId: VDISK }, { software: 'test', timeoutMs });

describe('another node is asked', () => {
  it('over the connection on which it serves its metadata', async () => {
    const path = await serve('answers', question => Promise.resolve({ node: 'n', question }));
    expect(await ask(path)).toEqual({ node: 'n', question: { about: 'copy', vdiskId: VDISK } });
  });

  it('and does not say: it cannot, is none, is not there, or hangs', async () => {
    await expect(ask(await serve('fails', () => Promise.reject(new Error('out of order'))))).rejects.toThrow('out of order');
    await expect(ask(await serve('mute'))).rejects.toThrow('there is no node to ask here');
    await expect(ask(join(directory, 'nobody.sock'))).rejects.toThrow('ENOENT');
    const silent = createServer(socket => socket.resume()).listen(join(directory, 'silent.sock'));
    closing.push(() => new Promise(resolve => silent.close(resolve)));
    await expect(ask(join(directory, 'silent.sock'), 50)).rejects.toThrow('no answer within 50 ms');
  });
});
