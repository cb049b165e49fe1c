import { join } from 'node:path';
import { gatepath } from '../test/support/gatepath.js';
import { GatepathCluster } from '../test/support/gatepath-cluster.js';
import type { Hop, Peer, PeerFactory } from './peers.js';

const NODES = 3;

interface VdiskShown {
  readonly controller: string;
  readonly members: readonly string[];
}

/** One cluster of three nodes, of which each peer is a vdisk: what is compared runs in the same processes. */
class SharedCluster {
  #cluster: GatepathCluster | null = null;
  #users = 0;

  async use(dir: string): Promise<GatepathCluster> {
    this.#users++;
    if (this.#cluster !== null) return this.#cluster;
    this.#cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: NODES });
    await this.#cluster.start();
    return this.#cluster;
  }

  async leave(): Promise<void> {
    if (--this.#users > 0) return;
    await this.#cluster?.stop();
    this.#cluster = null;
  }
}

/** A vdisk of each replication factor in one cluster. One copy is what the others are compared with. */
export function replicationPeers(): { readonly one: PeerFactory; readonly more: readonly PeerFactory[] } {
  const shared = new SharedCluster();
  const [one, two, three] = [1, 2, 3].map(factor => vdiskPeer(shared, factor));
  return { one: one!, more: [two!, three!] };
}

function vdiskPeer(shared: SharedCluster, factor: number): PeerFactory {
  const name = `RF ${factor}`;
  return {
    name,
    start: async ({ dir, sizeBytes }) => {
      const cluster = await shared.use(dir);
      const vdisk = `rf${factor}`;
      const data = ['--data', join(cluster.options.dataDir, 'node-1')];
      await gatepath('container', 'create', vdisk, '--rf', String(factor), ...data);
      await gatepath('vdisk', 'create', vdisk, String(sizeBytes), '--container', vdisk, ...data);
      await gatepath('attach', vdisk, ...data);
      const shown = JSON.parse(await gatepath('vdisk', 'show', vdisk, '--json', ...data)) as VdiskShown;
      return {
        name,
        ours: factor > 1,
        socket: cluster.nbdSocket,
        exportName: vdisk,
        pid: cluster.process.pid,
        hops: hopsOf(cluster, shown),
        stop: () => shared.leave(),
      } satisfies Peer;
    },
  };
}

function hopsOf(cluster: GatepathCluster, { controller, members }: VdiskShown): readonly Hop[] {
  const { nodes, etcd, datapath } = cluster.file;
  const pidsOf = (isOne: (id: string) => boolean): number[] => nodes.filter(({ id }) => isOne(id)).map(({ pid }) => pid);
  return [
    { name: 'datapath', pids: [datapath.pid] },
    { name: 'controller', pids: pidsOf(id => id === controller) },
    { name: 'members', pids: pidsOf(id => id !== controller && members.includes(id)) },
    { name: 'other nodes', pids: pidsOf(id => !members.includes(id)) },
    { name: 'etcd', pids: etcd.map(({ pid }) => pid) },
  ].filter(({ pids }) => pids.length > 0);
}
