import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { LmdbDamage } from '../../base/lmdb-image.js';
import { KeyKind } from './format.js';
import { StoreImage } from './image.js';
import { START_CHECK_BYTES } from './limits.js';

/**
 * What would end the process, now or later, when the library opens the database in `directory`; null: nothing was found. Of a large one the pages that a start needs itself are
 * read, those of layers and segments: the others are read by the {@link PageCheck} while the node runs.
 */
export function damageAtStart(directory: string, wholeUpToBytes = START_CHECK_BYTES): LmdbDamage | null {
  const path = join(directory, 'data.mdb');
  // A file without content is one that a first start left.
  if (!existsSync(path) || statSync(path).size === 0) return null;
  const image = new StoreImage(path);
  try {
    const isSmall = image.usedBytes <= wholeUpToBytes;
    const damage = isSmall ? image.check() : image.checkUpTo(Buffer.from([KeyKind.chunk]));
    return damage.find(({ isUnused }) => isUnused !== true) ?? null;
  } finally {
    image.close();
  }
}
