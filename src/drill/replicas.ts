import type { Cluster } from './cluster.js';
import { REDUNDANCY_STALL_MS } from './limits.js';
import { Load, type LoadOptions } from './load.js';
import { whileItGoesOn } from './patience.js';
import { waitForExit } from './processes.js';
import { controllerOf } from './roles.js';
import { checkHistory, type Verdict } from './verdict.js';
import { Watch } from './watch.js';

export interface ReplicaCheckOptions {
  readonly cluster: Cluster;
  readonly vdisk: string;
  readonly copies: number;
  readonly load: LoadOptions;
  /** What each block holds. */
  readonly content: Float64Array;
  readonly firstOperation: number;
  readonly onPhase: (phase: string) => void;
}

export interface ReplicaReport {
  readonly passed: boolean;
  readonly failures: readonly string[];
  /** Each node that served while everything was read, and what was found. */
  readonly served: readonly { readonly node: string; readonly verdict: Verdict }[];
}

/** Every copy holds the same: each member is made the controller in turn, by stopping those before it, and everything is read from it. */
export async function checkReplicas(options: ReplicaCheckOptions): Promise<ReplicaReport> {
  const { cluster, vdisk, copies, load, content, firstOperation, onPhase } = options;
  const served: { node: string; verdict: Verdict }[] = [];
  const failures: string[] = [];
  const watch = new Watch(cluster, vdisk, copies);
  await watch.start();
  /** Stopped so that another one serves. */
  let stopped: string[] = [];
  const startAll = async (): Promise<void> => {
    for (const id of stopped) await cluster.start(id);
    stopped = [];
    await until(watch, () => watch.isRedundant);
  };
  try {
    await until(watch, () => watch.isRedundant);
    for (let tries = 0; tries < 2 * copies && served.length < copies; tries++) {
      const node = controllerOf({ watch });
      if (!served.some(one => one.node === node)) {
        onPhase(`reading everything from ${node}`);
        const reader = new Load(load, firstOperation, content);
        await reader.readAll();
        const verdict = checkHistory(reader.operations, content);
        served.push({ node, verdict });
        for (const [kind, count] of Object.entries(verdict.counts))
          if (count > 0) failures.push(`on ${node}: ${kind} writes in ${count} blocks`);
      }
      if (served.length === copies) break;
      // Of three copies two have to be there: the one that was stopped last stays away, so that the next change goes to the third.
      const before = stopped;
      await stop(cluster, node);
      stopped = [node];
      await until(watch, () => watch.view?.controller != null && watch.view.controller !== node);
      for (const id of before) await cluster.start(id);
      await until(watch, () => (watch.view?.members.length ?? 0) >= Math.min(copies, 2) || copies < 3);
    }
    if (served.length < copies) failures.push(`only ${served.map(one => one.node).join(', ')} came to serve, of ${copies} copies`);
  } catch (error) {
    failures.push((error as Error).message);
  }
  for (const id of cluster.ended()) if (!stopped.includes(id)) failures.push(`${id} has ended by itself: see its log`);
  await startAll().catch((error: Error) => failures.push(error.message));
  await watch.stop();
  return { passed: failures.length === 0, failures, served };
}

async function stop(cluster: Cluster, id: string): Promise<void> {
  const target = await cluster.target(id);
  target.signal('SIGTERM');
  await waitForExit(target.pid);
}

function until(watch: Watch, holds: () => boolean): Promise<void> {
  return whileItGoesOn('the copies are not as they have to be', () => ({ isDone: holds(), text: watch.progress }), REDUNDANCY_STALL_MS);
}
