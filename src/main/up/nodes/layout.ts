import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { GatepathError } from '../../../base/errors.js';
import { MOST_NODES } from '../../limits.js';
import { CONTROL_SOCKET } from '../../sockets.js';
import { NETWORKS, openAuthority, type Network } from './network.js';
import { freePorts } from './ports.js';
import { writeFileDurably } from '../../write-file.js';

/**
 * What `gatepath up --nodes` keeps in its directory: `cluster-layout.json`, and a directory for each process. Chosen at the first start and kept,
 * because the members of etcd know each other by their ports.
 */

export const LAYOUT = 'cluster-layout.json';
const HARMLESS = /^(lock|authority|lost\+found|.*\.tmp)$/;
const HOW: Readonly<Record<Network, string>> = { unix: 'over Unix sockets', tcp: 'over TCP', namespaces: 'in network namespaces' };
/** In namespaces nobody else listens; and no connection that is made there has one of these, as it may have one that was free once. */
const [CLIENT_PORT, PEER_PORT, STARGATE_PORT] = [2_379, 2_380, 9_440];
/** More of them make etcd slower, not safer. */
const MOST_ETCD_MEMBERS = 3;

const port = z.number().int().min(1).max(65_535);
const layoutFormat = z.object({
  product: z.literal('gatepath up --nodes'),
  formatVersion: z.literal(1),
  clusterId: z.uuid(),
  network: z.enum(NETWORKS).default('unix'),
  etcd: z.array(z.object({ clientPort: port, peerPort: port })).min(1),
  nodes: z
    .array(z.object({ id: z.string(), tcpPort: port }))
    .min(2)
    .max(MOST_NODES),
});
export type ClusterLayout = z.infer<typeof layoutFormat>;

export interface LayoutWish {
  readonly nodes: number;
  /** null: as it is, Unix sockets where it is new. */
  readonly network: Network | null;
}

/** The layout that is there, with more nodes where more are wanted, or a new one. */
export async function openLayout(data: string, { nodes, network }: LayoutWish): Promise<ClusterLayout> {
  const file = join(data, LAYOUT);
  const known = existsSync(file) ? readLayout(file) : null;
  if (known === null && existsSync(join(data, 'gatepath.json'))) {
    throw invalid(
      'ERR_SINGLE_NODE',
      `${data} is the data directory of a single node`,
      'leave --nodes out, or name another directory with --data; "gatepath cluster upgrade-from-single" makes it a node of a cluster',
    );
  }
  if (known !== null && known.nodes.length > nodes) {
    throw invalid(
      'ERR_FEWER_NODES',
      `${data} holds a cluster of ${known.nodes.length} nodes, not ${nodes}`,
      `give --nodes ${known.nodes.length}, or another directory with --data`,
    );
  }
  if (known !== null && network !== null && known.network !== network) {
    // The members of etcd know each other by their addresses.
    const message = `${data} holds a cluster that talks ${HOW[known.network]}, not ${HOW[network]}`;
    throw invalid(
      'ERR_NETWORK',
      message,
      'leave --tcp and --namespaces out: it starts as it was made; or name another directory with --data',
    );
  }
  if (known === null) refuseForeign(data);
  const layout = known ?? (await newLayout(data, nodes, network ?? 'unix'));
  const missing = nodes - layout.nodes.length;
  const ports = layout.network === 'namespaces' ? Array<number>(missing).fill(STARGATE_PORT) : await freePorts(missing);
  for (const tcpPort of ports) layout.nodes.push({ id: `node-${layout.nodes.length + 1}`, tcpPort });
  if (known === null || missing > 0) writeFileDurably(file, `${JSON.stringify(layout, null, 2)}\n`);
  return layout;
}

function refuseForeign(data: string): void {
  const foreign = readdirSync(data).find(name => !HARMLESS.test(name));
  if (foreign === undefined) return;
  const message = `${data} holds "${foreign}" and no cluster of Gatepath`;
  throw invalid('ERR_NOT_OURS', message, 'name an empty or new directory, or the right one');
}

/** For `gatepath up` without --nodes. */
export function nodesIn(data: string): number | null {
  const file = join(data, LAYOUT);
  return existsSync(file) ? readLayout(file).nodes.length : null;
}

async function newLayout(data: string, nodes: number, network: Network): Promise<ClusterLayout> {
  const members = Math.min(nodes, MOST_ETCD_MEMBERS);
  const ports = network === 'namespaces' ? null : await freePorts(2 * members + nodes);
  return {
    product: 'gatepath up --nodes',
    formatVersion: 1,
    clusterId: network === 'unix' ? randomUUID() : openAuthority(new ClusterPaths(data)),
    network,
    etcd: Array.from({ length: members }, (_, i) => ({
      clientPort: ports?.[2 * i] ?? CLIENT_PORT,
      peerPort: ports?.[2 * i + 1] ?? PEER_PORT,
    })),
    nodes: Array.from({ length: nodes }, (_, i) => ({ id: `node-${i + 1}`, tcpPort: ports?.[2 * members + i] ?? STARGATE_PORT })),
  };
}

function readLayout(file: string): ClusterLayout {
  try {
    return layoutFormat.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    const message = `${file} is not what this version of Gatepath wrote: ${(cause as Error).message}`;
    throw new GatepathError('invalid', 'ERR_FORMAT', message, 'restore it from a backup: the data itself is not touched', { cause });
  }
}

/** Where everything of a cluster is in its directory. */
export class ClusterPaths {
  constructor(readonly data: string) {}

  readonly nbdSocket = (): string => join(this.data, 'nbd.sock');
  readonly authority = (): string => join(this.data, 'authority');
  /** Of the run: pids, and the sockets at which etcd answers whoever looks after it. */
  readonly run = (): string => join(this.data, 'run');
  readonly logs = (): string => join(this.data, 'log');
  readonly etcd = (i: number): string => join(this.data, `etcd-${i + 1}`);
  readonly datapath = (): string => join(this.data, 'datapath');
  readonly datapathConfig = (): string => join(this.datapath(), 'datapath.yaml');
  readonly datapathControl = (): string => join(this.datapath(), CONTROL_SOCKET);
  readonly node = (id: string): string => join(this.data, id);
  readonly nodeConfig = (id: string): string => join(this.node(id), 'stargate.yaml');
  readonly nodeSocket = (id: string): string => join(this.node(id), 'stargate.sock');
  readonly nodeControl = (id: string): string => join(this.node(id), CONTROL_SOCKET);
}

const invalid = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
