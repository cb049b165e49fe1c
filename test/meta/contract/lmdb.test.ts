import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LmdbStore } from '../../../src/meta/lmdb.js';
import type { MetadataStore } from '../../../src/meta/store.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { describeStore } from './suite.js';

describeStore('LMDB', () => {
  const directory = makeTempDir('lmdb');
  const store = LmdbStore.open(directory);
  return Promise.resolve({
    // One process has one store.
    open: () => Promise.resolve<MetadataStore>(store),
    close: async () => {
      await store.close();
      removeTempDir(directory);
    },
  });
});
