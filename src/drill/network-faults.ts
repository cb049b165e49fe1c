import { spawnSync } from 'node:child_process';
import { GatepathError } from '../base/errors.js';
import { sleep, type Cluster, type Facts } from './cluster.js';
import { makeLeader } from './etcd.js';
import { HANG_MS } from './limits.js';
import { networkOf } from './networks.js';
import { controllerOf } from './roles.js';
import type { Bound, FaultContext, Scenario } from './scenario.js';
import type { Watch } from './watch.js';

export const TABLE = 'gatepath_drill';

type Direction = 'input' | 'output';
const BOTH: readonly Direction[] = ['input', 'output'];

/** Who is cut off: the first is named in the report. */
interface Victim {
  readonly id: string;
  readonly pid: number;
}

/**
 * Rules in the network namespace of a process, in a table of the drill's own: what goes over `lo` stays, everything else is lost. Management goes over a Unix
 * socket, which no partition touches.
 */
function cut(pid: number, directions: readonly Direction[]): void {
  const rules = directions.map(direction => {
    const device = direction === 'input' ? 'iifname' : 'oifname';
    return `chain ${direction} { type filter hook ${direction} priority -300; ${device} != "lo" drop; }`;
  });
  nft(pid, `table inet ${TABLE} {\n${rules.join('\n')}\n}`);
}

export function mend(pid: number): void {
  // Added first, so that there is something to delete.
  nft(pid, `add table inet ${TABLE}\ndelete table inet ${TABLE}`);
}

export function nft(pid: number, script: string): void {
  const { status, stderr, error } = spawnSync('nsenter', ['-t', String(pid), '-n', 'nft', '-f', '-'], { input: script, encoding: 'utf8' });
  if (status === 0) return;
  const message = `nftables in the network namespace of process ${pid}: ${error?.message ?? stderr}`;
  throw new GatepathError('fatal', 'ERR_NFTABLES', message, 'see that nft and nsenter are installed, and run the drill as root');
}

export function unsuitable({ nodes, ownNetworks }: Facts): string | null {
  if (nodes < 2) return 'it needs a second node: this system has one (gatepath up --nodes 3)';
  if (!ownNetworks) {
    return 'its nodes share a network, and cannot be cut off from each other there: run it as root without --data, or on a system that was started with "gatepath up --nodes 3 --namespaces" ("hang" is the nearest thing that is possible here)';
  }
  return process.getuid?.() === 0 ? null : 'it needs root, for rules in the nodes’ network namespaces';
}

interface Cut {
  readonly name: string;
  readonly title: string;
  readonly directions: readonly Direction[];
  readonly bound: Bound;
  readonly unsuitable?: (facts: Facts) => string | null;
  readonly prepare?: (cluster: Cluster, watch: Watch) => Promise<void>;
  readonly victims: (context: FaultContext) => Promise<readonly Victim[]>;
}

const scenario = ({ name, title, directions, bound, victims, ...more }: Cut): Scenario => ({
  name,
  title,
  unsuitable,
  needsNetworks: true,
  bound: () => bound,
  run: async context => {
    const all = await victims(context);
    context.undo(() => all.forEach(({ pid }) => mend(pid)));
    const who = all.map(({ id }) => id).join(' and ');
    context.fault(`${who} cut off: ${directions.join(' and ')}`);
    for (const { pid } of all) cut(pid, directions);
    await sleep(Math.max(HANG_MS, context.holdMs));
    for (const { pid } of all) mend(pid);
    context.healed(`${who} in the network again`);
  },
  ...more,
});

const controller = async (context: FaultContext): Promise<readonly Victim[]> => [await context.cluster.target(controllerOf(context))];

/** The guest's own host, with the node and the datapath that are there: they still have each other. */
async function host({ cluster }: FaultContext): Promise<readonly Victim[]> {
  const { datapath, nodes } = cluster.file;
  return [await cluster.target(datapath.node ?? nodes[0]!.id), { id: 'the datapath beside it', pid: datapath.pid }];
}

/** The member of etcd that is in the network namespace of the controller's node leads it. */
async function leadFromController(cluster: Cluster, watch: Watch): Promise<void> {
  const { pid } = await cluster.target(controllerOf({ watch }));
  const beside = cluster.file.etcd.find(member => networkOf(cluster.started.get(member.address) ?? member.pid) === networkOf(pid));
  if (beside !== undefined) await makeLeader(cluster, beside);
}

const gap: Bound = { kind: 'gap', ms: 1_500 };

export const networkScenarios: readonly Scenario[] = [
  scenario({
    name: 'partition',
    title: "the controller's node is cut off from the network",
    directions: BOTH,
    bound: gap,
    victims: controller,
  }),
  scenario({
    name: 'partition-leader',
    title: "the controller's node is cut off from the network, and etcd's leader with it",
    directions: BOTH,
    bound: gap,
    unsuitable: facts => unsuitable(facts) ?? (facts.etcd > 2 ? null : 'it needs three members of etcd'),
    prepare: leadFromController,
    victims: controller,
  }),
  scenario({
    name: 'one-way',
    title: "what the controller's node sends is lost, what is sent to it arrives",
    directions: ['output'],
    bound: gap,
    victims: controller,
  }),
  scenario({
    name: 'deaf',
    title: "what is sent to the controller's node is lost, what it sends arrives",
    directions: ['input'],
    bound: gap,
    victims: controller,
  }),
  scenario({
    name: 'host-cut',
    title: "the guest's host is cut off from the network: its node and its datapath have only each other",
    directions: BOTH,
    // No other node can be reached: the guest waits.
    bound: { kind: 'resume', ms: 1_000 },
    unsuitable: facts => unsuitable(facts) ?? (facts.ownHostNetwork ? null : 'the datapath has no network namespace of its own'),
    victims: host,
  }),
];
