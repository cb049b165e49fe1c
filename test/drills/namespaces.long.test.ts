import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../../src/drill/report.js';
import { gatepathArgv, readClusterFile } from '../support/gatepath.js';
import { GatepathCluster, removeNamespaces } from '../support/gatepath-cluster.js';
import { run } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const missing = missingPrograms('etcd', 'setpriv', 'ip', 'nsenter', 'nft', 'openssl', 'fio', 'jq');
const isRoot = process.getuid?.() === 0;
const TIMEOUT_MS = 400_000;
const NOTHING = { lost: 0, doubled: 0, stale: 0, torn: 0 };

/** Partitions that are real: each node and the datapath in a network namespace of its own. One cluster for all. */
describe.skipIf(missing.length > 0 || !isRoot)(
  `nodes in network namespaces${missingNote(missing)}${isRoot ? '' : ' (needs root)'}`,
  { timeout: 2 * TIMEOUT_MS },
  () => {
    const dir = makeTempDir('ns');
    const cluster = new GatepathCluster({
      dataDir: join(dir, 'data'),
      nodes: 3,
      extraArgs: ['--namespaces', '--rf', '2', '--vdisk', 'demo:64M'],
    });
    const ours = new Set<string>();
    const namespaces = (): string[] => readdirSync('/run/netns').filter(name => ours.has(name));

    beforeAll(() => cluster.start(), TIMEOUT_MS);
    afterAll(async () => {
      await cluster.kill();
      removeNamespaces(readClusterFile(cluster.options.dataDir));
      removeTempDir(dir);
    });

    it('cluster.json says where each process is', () => {
      const { nodes, etcd, datapath } = cluster.file;
      const netOf = (pid: number): string => readlinkSync(`/proc/${pid}/ns/net`);
      for (const { network } of [...nodes, ...etcd, datapath]) ours.add(network!.namespace);
      expect(nodes.map(({ network }) => network!.address)).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
      expect(nodes.map(({ pid }) => netOf(pid))).toEqual(etcd.map(({ pid }) => netOf(pid)));
      expect(new Set([process.pid, datapath.pid, ...nodes.map(({ pid }) => pid)].map(netOf)).size).toBe(5);
      expect(namespaces().sort()).toEqual([...ours].sort());
      for (const { network, command } of nodes) {
        expect(network!.enter.map(word => basename(word))).toEqual(['nsenter', network!.namespace]);
        expect(command.slice(0, 2)).toEqual(network!.enter);
      }
    });

    // Two copies: a controller that is cut off cannot know that it is, and serves reads on. The other connection has its answers from its successor.
    it('a controller that is cut off, while its own host still reaches it: nothing is lost, and none of its answers is taken', async () => {
      const args = ['drill', 'partition', '--data', cluster.options.dataDir, '--connections', '1', '--readers', '1', '--queue-depth', '8'];
      const { stdout, stderr, code } = await run(gatepathArgv(...args, '--seconds', '2', '--json'), { timeoutMs: TIMEOUT_MS });
      expect(stdout, stderr).toMatch(/^\{/);
      const { passed, rounds, replicas } = JSON.parse(stdout) as Report;
      expect(replicas?.failures).toEqual([]);
      expect({ code, passed, failures: rounds[0]!.failures }).toEqual({ code: 0, passed: true, failures: [] });
      expect(rounds[0]).toMatchObject({ disconnects: 0, errors: 0, stuck: 0, verdict: { counts: NOTHING } });
    });

    it('a script that knows nothing but cluster.json finds the same with fio', async () => {
      const script = fileURLToPath(new URL('./independent.sh', import.meta.url));
      const { stdout, stderr, code } = await run(['bash', script, cluster.options.dataDir, 'demo', '3', '0'], { timeoutMs: TIMEOUT_MS });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout.match(/SIGKILL|SIGSTOP|cut off/g)).toHaveLength(3);
      expect(stdout).toMatch(/fio: \d+ passes without an error/);
    });

    it('what a killed run leaves behind is removed at the next start, and all at the end', async () => {
      await cluster.kill();
      expect(namespaces()).toHaveLength(4);
      await cluster.start();
      expect(namespaces()).toHaveLength(4);
      await cluster.stop();
      expect(namespaces()).toEqual([]);
      expect(existsSync(join(cluster.options.dataDir, 'cluster.json'))).toBe(false);
    });
  },
);
