import fs, { existsSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StargateHost, type StargateHostOptions } from '../../dist/main/stargate-host.js';
import { silentLogger } from '../../src/base/log.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const dir = makeTempDir('host');
afterAll(() => removeTempDir(dir));

function options(dataDirectory: string): StargateHostOptions {
  return {
    dataDirectory,
    nodeId: 'node-1',
    shards: 2,
    cacheBytes: 64 << 20,
    oplogBytes: 1 << 30,
    stargateSocket: join(dataDirectory, 'stargate.sock'),
    log: silentLogger,
    onProgress: () => undefined,
    onFatal: message => {
      throw new Error(message);
    },
  };
}

/** Directory → the names that it had when it was last synced. */
const synced = new Map<string, string[]>();
const { fsyncSync } = fs;

beforeEach(() => {
  synced.clear();
  fs.fsyncSync = fd => {
    fsyncSync(fd);
    const path = readlinkSync(`/proc/self/fd/${fd}`);
    if (fs.fstatSync(fd).isDirectory()) synced.set(path, readdirSync(path));
  };
  syncBuiltinESMExports();
});

afterEach(() => {
  fs.fsyncSync = fsyncSync;
  syncBuiltinESMExports();
});

const isDurable = (path: string) => synced.get(dirname(path))?.includes(basename(path)) === true;

/** Nothing is lost with these: they are made anew. */
const PASSING = /^(lock|lock\.mdb)$/;

function* below(path: string): IterableIterator<string> {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (!PASSING.test(entry.name)) yield join(path, entry.name);
    if (entry.isDirectory()) yield* below(join(path, entry.name));
  }
}

describe('a start in a new directory', () => {
  it('makes every name durable, before the shards start: of the directory, those above it, and all below', async () => {
    const data = join(dir, 'a', 'b', 'data');
    const host = await StargateHost.open(options(data));
    try {
      const names = [join(dir, 'a'), join(dir, 'a', 'b'), data, ...below(data)];
      expect(names).toEqual(
        expect.arrayContaining(['gatepath.json', 'meta/data.mdb', 'stargate/store/data.mdb'].map(name => join(data, name))),
      );
      expect(names.filter(name => !isDurable(name))).toEqual([]);
    } finally {
      await host.close();
    }
  });

  it('makes its name durable also when somebody else made the directory', async () => {
    const data = join(dir, 'given');
    mkdirSync(data);
    const host = await StargateHost.open(options(data));
    await host.close();
    expect(existsSync(join(data, 'gatepath.json'))).toBe(true);
    expect(isDurable(data)).toBe(true);
  });
});
