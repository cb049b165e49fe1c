import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import { sleep, type Cluster } from './cluster.js';
import { FULL_DISK_MS, SMALL_DISK_BYTES } from './limits.js';
import { waitForExit } from './processes.js';
import { controllerOf } from './roles.js';
import type { Scenario } from './scenario.js';

const ENOSPC = 28;
const FILLER = 'drill-filler';
/** What is left of a full file system. */
const LEAST_FILL_BYTES = 4_096;

const diskFull: Scenario = {
  name: 'disk-full',
  title: "the file system of the controller's node is full for a while",
  unsuitable: ({ isOwn }) => {
    if (!isOwn) return 'it fills a file system, and does that to none but its own: leave --data away';
    return process.getuid?.() === 0 ? null : 'it needs root, to give a node a small file system';
  },
  // The log may be full, and then a change waits or is refused with ENOSPC.
  bound: () => ({ kind: 'none' }),
  isExpectedError: errorCode => errorCode === ENOSPC,
  prepare: async (cluster, watch) => {
    if (nodeOnSmallDisk(cluster) === undefined) await moveToSmallDisk(cluster, controllerOf({ watch }));
  },
  run: async context => {
    const node = nodeOnSmallDisk(context.cluster)!;
    const filler = join(node.dataDir, FILLER);
    context.undo(() => rmSync(filler, { force: true }));
    context.fault(`the file system of ${node.id} is full`);
    fill(node.dataDir, filler);
    await sleep(FULL_DISK_MS);
    rmSync(filler, { force: true });
    context.healed(`the file system of ${node.id} has room again`);
  },
};

const diskReplace: Scenario = {
  name: 'disk-replace',
  title: "the controller's node is killed, and comes back with an empty disk",
  unsuitable: ({ isOwn, nodes }) => {
    if (!isOwn) return 'it deletes what a node keeps, and does that to none but its own: leave --data away';
    return nodes > 1 ? null : 'it needs a second node: this system has one (gatepath up --nodes 3)';
  },
  bound: () => ({ kind: 'gap', ms: 250 }),
  run: async context => {
    const { cluster } = context;
    const target = await cluster.target(controllerOf(context));
    const { dataDir } = cluster.node(target.id);
    context.undo(() => cluster.start(target.id));
    context.fault(`SIGKILL to ${target.id}, and its disk is replaced by an empty one`);
    target.signal('SIGKILL');
    await waitForExit(target.pid);
    for (const name of readdirSync(dataDir)) {
      if (!isConfiguration(name)) rmSync(join(dataDir, name), { recursive: true, force: true });
    }
    await sleep(context.holdMs);
    await cluster.start(target.id);
    context.healed(`${target.id} is back, with an empty disk`);
  },
};

export const diskScenarios: readonly Scenario[] = [diskFull, diskReplace];

/** It says who the node is, and does not lie on its data disk in earnest. */
const isConfiguration = (name: string): boolean => name.endsWith('.yaml');

const nodeOnSmallDisk = (cluster: Cluster) => cluster.file.nodes.find(node => isMountPoint(node.dataDir));

const isMountPoint = (path: string): boolean => existsSync(path) && statSync(path).dev !== statSync(dirname(path)).dev;

/** A file system of its own for the node's data, in a file beside it. */
async function moveToSmallDisk(cluster: Cluster, id: string): Promise<void> {
  const { dataDir } = cluster.node(id);
  const target = await cluster.target(id);
  target.signal('SIGTERM');
  await waitForExit(target.pid);
  const [image, kept] = [smallDiskOf(dataDir), `${dataDir}.kept`];
  run('mv', dataDir, kept);
  run('mkdir', dataDir);
  run('truncate', '-s', String(SMALL_DISK_BYTES), image);
  run('mkfs.ext4', '-q', '-m', '0', image);
  run('mount', '-o', 'loop', image, dataDir);
  run('cp', '-a', `${kept}/.`, dataDir);
  run('rm', '-r', kept);
  await cluster.start(id);
}

const smallDiskOf = (dataDir: string): string => join(dirname(dataDir), `${basename(dataDir)}.ext4`);

/** Until nothing more fits. */
function fill(directory: string, filler: string): void {
  for (let left = freeBytes(directory); left >= LEAST_FILL_BYTES;) {
    const sizeBytes = (existsSync(filler) ? statSync(filler).size : 0) + left;
    // What the file system needs for its own books is not ours to take: less and less is tried.
    if (spawnSync('fallocate', ['-l', String(sizeBytes), filler]).status === 0) left = freeBytes(directory);
    else left = Math.floor(left / 2);
  }
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

function run(program: string, ...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status === 0) return;
  const message = `${[program, ...args].join(' ')}: ${error?.message ?? stderr}`;
  throw new GatepathError('fatal', 'ERR_SMALL_DISK', message, 'a small file system needs root and loop devices');
}
