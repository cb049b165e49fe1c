import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import type { ClusterFile } from '../../src/main/up/cluster-file.js';
import { mutantOf, readClusterFile } from './gatepath.js';
import { TestProcess } from './process.js';

export interface GatepathClusterOptions {
  readonly dataDir: string;
  readonly nodes: number;
  readonly extraArgs?: readonly string[];
  /** In all its processes. */
  readonly mutant?: URL;
}

const START_TIMEOUT_MS = 150_000;
const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 100;

/** `gatepath up --nodes N`: Stargates, etcd and a datapath, each a process of its own. */
export class GatepathCluster {
  readonly nbdSocket: string;
  #process: TestProcess | undefined;

  constructor(readonly options: GatepathClusterOptions) {
    this.nbdSocket = join(options.dataDir, 'nbd.sock');
  }

  get process(): TestProcess {
    if (this.#process === undefined) throw new Error('not started');
    return this.#process;
  }

  /** What cluster.json says. */
  get file(): ClusterFile {
    const file = readClusterFile(this.options.dataDir);
    if (file === undefined) throw new Error('there is no cluster.json');
    return file;
  }

  async start(): Promise<void> {
    const { dataDir, nodes, extraArgs = [], mutant } = this.options;
    const { argv, env } = mutantOf(mutant);
    const up = TestProcess.start(argv('up', '--data', dataDir, '--nodes', String(nodes), ...extraArgs), { env });
    this.#process = up;
    await up.waitUntil(
      'all of the cluster serves',
      START_TIMEOUT_MS,
      () => up.stdout.includes('their logs') && readClusterFile(dataDir) !== undefined,
    );
  }

  async stop(): Promise<void> {
    const status = await this.process.stop(STOP_TIMEOUT_MS, 'SIGINT');
    if (status.code !== 0) throw new Error(`gatepath up ended with ${JSON.stringify(status)}\n${this.process.output}`);
  }

  /** For the end of a test, whatever has become of it. The processes of an `up` that is killed end themselves; a node that somebody has started by its command does not. */
  async kill(): Promise<void> {
    const pids = pidsOf(readClusterFile(this.options.dataDir));
    await this.#process?.kill();
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    const endMs = performance.now() + STOP_TIMEOUT_MS;
    while (pids.some(isAlive) && performance.now() < endMs) await delay(POLL_MS);
  }
}

/** Those that an `up` which was killed leaves behind: its next start would remove them. */
export function removeNamespaces(file: ClusterFile | undefined): void {
  const prefix = file?.nodes[0]?.network?.namespace.replace(/node-1$/, '');
  if (prefix === undefined) return;
  for (const name of readdirSync('/run/netns')) if (name.startsWith(prefix)) spawnSync('ip', ['netns', 'delete', name]);
}

/** Of all processes that cluster.json names. */
export function pidsOf(file: ClusterFile | undefined): number[] {
  if (file === undefined) return [];
  return [...file.nodes.map(({ pid }) => pid), ...file.etcd.map(({ pid }) => pid), file.datapath.pid];
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
