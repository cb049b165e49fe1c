import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A directory of its own for one test. Names are short because Unix socket paths end at 107 bytes.
 * `GATEPATH_TEST_TMP` moves them to another disk; `GATEPATH_TEST_KEEP=1` keeps them for a look afterwards.
 */
export function makeTempDir(label = 't'): string {
  return mkdtempSync(join(process.env['GATEPATH_TEST_TMP'] ?? tmpdir(), `gp-${label}-`));
}

export function removeTempDir(path: string): void {
  if (process.env['GATEPATH_TEST_KEEP'] === '1') {
    console.error(`kept: ${path}`);
    return;
  }
  rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}
