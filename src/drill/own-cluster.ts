import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import { sleep } from './cluster.js';
import { readClusterFile } from './cluster-file.js';
import { HEALTH_POLL_MS, START_TIMEOUT_MS } from './limits.js';
import { isAlive, startProcess, waitForExit } from './processes.js';

const UNMOUNT_TRIES = 30;

export interface OwnClusterWish {
  readonly nodes: number;
  /** Each in a network namespace: only root can. */
  readonly namespaces: boolean;
}

/** A system that the drill starts for itself, in a directory of its own, by running the command. */
export class OwnCluster {
  private constructor(
    readonly dataDir: string,
    readonly upPid: number,
  ) {}

  static async start({ nodes, namespaces }: OwnClusterWish, onDirectory: (own: OwnCluster) => void): Promise<OwnCluster> {
    const root = mkdtempSync(join(tmpdir(), 'gp-drill-'));
    const dataDir = join(root, 'data');
    const cluster = nodes > 1 ? ['--nodes', String(nodes), ...(namespaces ? ['--namespaces'] : [])] : [];
    const argv = [...commandItself(), 'up', '--data', dataDir, ...cluster];
    const log = join(root, 'up.log');
    const own = new OwnCluster(dataDir, startProcess({ argv, cwd: root, env: process.env as Record<string, string> }, log));
    onDirectory(own);
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (readClusterFile(dataDir) === null) {
      if (!isAlive(own.upPid)) throw new GatepathError('fatal', 'ERR_START', '"gatepath up" has ended', `see what it says in ${log}`);
      if (performance.now() > deadline) {
        throw new GatepathError('retryable', 'ERR_START', `the system is not up after ${START_TIMEOUT_MS} ms`, `look at ${log}`);
      }
      await sleep(HEALTH_POLL_MS);
    }
    return own;
  }

  /** Ends all of its processes, `started` by the drill among them, and with `remove` its data too. */
  async stop(remove: boolean, started: readonly number[]): Promise<void> {
    const file = readClusterFile(this.dataDir);
    // Nodes that the drill has started again are no children of `up` any more.
    const others = file === null ? [] : [file.datapath.pid, ...file.nodes.map(node => node.pid), ...file.etcd.map(one => one.pid)];
    for (const pid of new Set([this.upPid, ...others, ...started])) await end(pid);
    const root = join(this.dataDir, '..');
    for (const path of mountsBelow(root)) await unmount(path);
    if (remove) rmSync(root, { recursive: true, force: true });
  }
}

/** What a process had open is let go of a little after its end. */
async function unmount(path: string): Promise<void> {
  for (let tries = 0; tries < UNMOUNT_TRIES; tries++) {
    if (spawnSync('umount', [path]).status === 0) return;
    await sleep(HEALTH_POLL_MS);
  }
  spawnSync('umount', ['--lazy', path]);
}

/** File systems that a drill has given to nodes. */
function mountsBelow(root: string): string[] {
  const mounted = readFileSync('/proc/mounts', 'utf8').split('\n');
  return mounted.flatMap(line => line.split(' ')[1] ?? []).filter(path => path.startsWith(`${root}/`));
}

const commandItself = (): string[] => [process.execPath, ...process.execArgv, process.argv[1]!];

async function end(pid: number): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isAlive(pid)) return;
    process.kill(pid, signal);
    await waitForExit(pid).catch(() => undefined);
  }
}
