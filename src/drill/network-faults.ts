import { spawnSync } from 'node:child_process';
import { GatepathError } from '../base/errors.js';
import { sleep, type Facts } from './cluster.js';
import { HANG_MS } from './limits.js';
import { controllerOf } from './roles.js';
import type { FaultContext, Scenario } from './scenario.js';

const TABLE = 'gatepath_drill';

type Direction = 'input' | 'output';

/**
 * Rules in the node's own network namespace, in a table of the drill's own: what goes over `lo` stays, everything else is lost. Management goes over a Unix
 * socket, which no partition touches.
 */
function cut(pid: number, directions: readonly Direction[]): void {
  const rules = directions.map(direction => {
    const device = direction === 'input' ? 'iifname' : 'oifname';
    return `chain ${direction} { type filter hook ${direction} priority -300; ${device} != "lo" drop; }`;
  });
  nft(pid, `table inet ${TABLE} {\n${rules.join('\n')}\n}`);
}

function mend(pid: number): void {
  // Added first, so that there is something to delete.
  nft(pid, `add table inet ${TABLE}\ndelete table inet ${TABLE}`);
}

function nft(pid: number, script: string): void {
  const { status, stderr, error } = spawnSync('nsenter', ['-t', String(pid), '-n', 'nft', '-f', '-'], { input: script, encoding: 'utf8' });
  if (status === 0) return;
  const message = `nftables in the network namespace of process ${pid}: ${error?.message ?? stderr}`;
  throw new GatepathError('fatal', 'ERR_NFTABLES', message, 'see that nft and nsenter are installed, and run the drill as root');
}

function unsuitable({ nodes, ownNetworks }: Facts): string | null {
  if (nodes < 2) return 'it needs a second node: this system has one (gatepath up --nodes 3)';
  if (!ownNetworks) {
    return 'its nodes share a network namespace and talk over Unix sockets, which cannot be cut from outside: run each node in a namespace of its own, over TCP ("hang" is the nearest thing that is possible here)';
  }
  return process.getuid?.() === 0 ? null : 'it needs root, for rules in the nodes’ network namespaces';
}

const scenario = (name: string, title: string, directions: readonly Direction[]): Scenario => ({
  name,
  title,
  unsuitable,
  bound: () => ({ kind: 'gap', ms: 1_500 }),
  run: context => partition(context, directions),
});

export const networkScenarios: readonly Scenario[] = [
  scenario('partition', "the controller's node is cut off from the network", ['input', 'output']),
  scenario('one-way', "what the controller's node sends is lost, what is sent to it arrives", ['output']),
];

async function partition(context: FaultContext, directions: readonly Direction[]): Promise<void> {
  const { id, pid } = await context.cluster.target(controllerOf(context));
  context.undo(() => mend(pid));
  context.fault(`${id} is cut off: ${directions.join(' and ')}`);
  cut(pid, directions);
  await sleep(Math.max(HANG_MS, context.holdMs));
  mend(pid);
  context.healed(`${id} is in the network again`);
}
