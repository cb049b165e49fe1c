/** Writes to a store in the directory of its argument until it is killed: one number under two keys, printed as soon as it is promised. */
import { writeSync } from 'node:fs';
import { LmdbStore } from '../../../src/meta/lmdb.js';

const store = LmdbStore.open(process.argv[2]!);
for (;;) {
  const before = await store.get('n');
  const value = ((before?.value as number | undefined) ?? 0) + 1;
  const result = await store.transaction(
    [{ key: 'n', version: before?.version ?? 0 }],
    [
      { put: 'n', value },
      { put: 'same', value },
      { put: `item/${value % 100}`, value: 'x'.repeat(value % 5_000) },
    ],
  );
  if (!result.ok) throw new Error('another writer');
  writeSync(1, `${value} ${result.version}\n`);
}
