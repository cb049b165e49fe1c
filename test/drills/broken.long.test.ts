import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Report } from '../../src/drill/report.js';
import { mutantOf, readClusterFile } from '../support/gatepath.js';
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
    let dir: string;
    let cluster: GatepathCluster | undefined;
    beforeEach(() => {
      dir = makeTempDir('broken');
    });
    afterEach(async () => {
      await cluster?.kill();
      if (cluster !== undefined) removeNamespaces(readClusterFile(cluster.options.dataDir));
      cluster = undefined;
      removeTempDir(dir);
    });

    async function failing(args: readonly string[], { argv, env } = mutantOf(), more = {}): Promise<Report> {
      const command = argv('drill', ...args, '--seconds', '2', '--json');
      const { stdout, stderr, code } = await run(command, { timeoutMs: TIMEOUT_MS, env: { ...env, ...more } });
      expect(stdout, stderr).toMatch(/^\{/);
      const report = JSON.parse(stdout) as Report;
      expect({ code, passed: report.passed }).toEqual({ code: 1, passed: false });
      return report;
    }

    async function drill(mutant: string, extraArgs: readonly string[], ...args: readonly string[]): Promise<Report> {
      cluster = new GatepathCluster({
        dataDir: join(dir, mutant.replace(/\W/g, '')),
        nodes: 3,
        extraArgs,
        mutant: new URL(mutant, import.meta.url),
      });
      await cluster.start();
      return failing([...args, '--data', cluster.options.dataDir]);
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

    /** One shard's requests are committed and not answered, the other one reads what they wrote and writes over it, and then they are sent again. */
    it('Stargates that do not know again what they have seen (rule 15) do it twice', async () => {
      // The drill starts the system itself, and keeps what has failed.
      const { rounds } = await failing(['lost-answers'], mutantOf(new URL('./no-dedupe.mjs', import.meta.url)), { TMPDIR: dir });
      expect(rounds[0]!.verdict.counts.doubled).toBeGreaterThan(0);
    });
  },
);
