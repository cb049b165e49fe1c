// Loaded before the command itself (NODE_OPTIONS=--import): counts the records that are read from a node's metadata, and writes the count down when it is asked by SIGUSR2.
import { renameSync, writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { LmdbStore } from '../../dist/meta/lmdb.js';

let records = 0;
const { get, range } = LmdbStore.prototype;
LmdbStore.prototype.get = function (key) {
  records++;
  return get.call(this, key);
};
LmdbStore.prototype.range = async function (prefix) {
  const result = await range.call(this, prefix);
  records += result.items.length;
  return result;
};

const path = process.env.GATEPATH_TEST_READS;
if (isMainThread && path !== undefined) {
  process.on('SIGUSR2', () => {
    writeFileSync(`${path}.new`, String(records));
    renameSync(`${path}.new`, path);
  });
}
