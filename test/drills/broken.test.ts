import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Report } from '../../src/drill/report.js';
import { gatepathArgv, readClusterFile } from '../support/gatepath.js';
import { GatepathCluster, removeNamespaces } from '../support/gatepath-cluster.js';
import { run } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const missing = missingPrograms('etcd', 'setpriv', 'ip', 'nsenter', 'nft', 'openssl');
const isRoot = process.getuid?.() === 0;
const TIMEOUT_MS = 300_000;

/** What the drill is for: products that are broken on purpose, as three nodes, have to fail it. */
describe.skipIf(missing.length > 0 || !isRoot)(
  `the drill of a broken cluster${missingNote(missing)}${isRoot ? '' : ' (needs root)'}`,
  { timeout: 2 * TIMEOUT_MS },
  () => {
    const dir = makeTempDir('broken');
    let cluster: GatepathCluster | undefined;
    afterEach(async () => {
      await cluster?.kill();
      if (cluster !== undefined) removeNamespaces(readClusterFile(cluster.options.dataDir));
      removeTempDir(dir);
    });

    async function drill(mutant: string, extraArgs: readonly string[], ...args: readonly string[]): Promise<Report> {
      cluster = new GatepathCluster({
        dataDir: join(dir, mutant.replace(/\W/g, '')),
        nodes: 3,
        extraArgs,
        mutant: new URL(mutant, import.meta.url),
      });
      await cluster.start();
      const argv = gatepathArgv('drill', ...args, '--data', cluster.options.dataDir, '--seconds', '2', '--json');
      const { stdout, stderr, code } = await run(argv, { timeoutMs: TIMEOUT_MS });
      expect(stdout, stderr).toMatch(/^\{/);
      const report = JSON.parse(stdout) as Report;
      expect({ code, passed: report.passed }).toEqual({ code: 1, passed: false });
      return report;
    }

    /**
     * Two copies: a controller that is cut off cannot know that it is. The datapath's one shard waits there for a write, leaves, and goes on at the successor; the
     * other one only reads, is answered as ever from a copy that grows old, and has nothing but the floor to tell it so.
     */
    it('a datapath without a floor (rule 17) gives its guest what has been overwritten', async () => {
      const args = ['--connections', '1', '--readers', '1', '--queue-depth', '8'];
      const { rounds } = await drill('./no-floor.mjs', ['--namespaces', '--rf', '2'], 'partition', ...args);
      const { counts } = rounds[0]!.verdict;
      expect(counts.stale + counts.lost).toBeGreaterThan(0);
    });
  },
);
