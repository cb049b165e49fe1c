import { join } from 'node:path';
import { z } from 'zod';
import { GatepathError } from '../base/errors.js';
import { sleep, type Cluster } from './cluster.js';
import type { EtcdMember } from './cluster-file.js';
import { ASK_TIMEOUT_MS } from './limits.js';
import { imageOf, signalProcess, startProcess, waitForExit, isAlive } from './processes.js';
import type { Scenario } from './scenario.js';

const statusAnswer = z.object({ header: z.object({ member_id: z.string() }), leader: z.string() });

/** The leader of the metadata store is killed: the guest must not notice. */
export const etcdLeader: Scenario = {
  name: 'etcd-leader',
  title: 'the leader of etcd is killed, and started again',
  unsuitable: ({ etcd }) => (etcd > 1 ? null : 'it needs a metadata store of several etcd members'),
  bound: () => ({ kind: 'over-quiet', ms: 10 }),
  comparesWithBefore: true,
  run: async context => {
    const { cluster } = context;
    const leader = await findLeader(cluster);
    const image = imageOf(leader.pid);
    if (image === null) throw new GatepathError('retryable', 'ERR_NO_LEADER', `etcd process ${leader.pid} is gone`, 'try again');
    const restart = (): void => {
      const now = cluster.file.etcd.find(one => one.address === leader.address);
      if (!isAlive(now?.pid ?? leader.pid)) startProcess(image, join(cluster.dataDir, 'drill-etcd.log'));
    };
    context.fault(`SIGKILL to etcd's leader at ${leader.address}`);
    signalProcess(leader.pid, image.argv, 'SIGKILL');
    await waitForExit(leader.pid);
    let restarted = false;
    context.undo(() => {
      if (!restarted) restart();
    });
    await sleep(context.holdMs);
    restart();
    restarted = true;
    context.healed('that member of etcd is started again');
  },
};

async function findLeader(cluster: Cluster): Promise<EtcdMember> {
  for (const member of cluster.file.etcd) {
    const answer = await askStatus(member.address);
    if (answer !== null && answer.header.member_id === answer.leader) return member;
  }
  const action = 'see that etcd is healthy, and that it answers without a certificate at the addresses in cluster.json';
  throw new GatepathError('retryable', 'ERR_NO_LEADER', 'no member of etcd says that it leads', action);
}

async function askStatus(address: string): Promise<z.infer<typeof statusAnswer> | null> {
  const url = /^https?:/.test(address) ? address : `http://${address}`;
  try {
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
    const response = await fetch(new URL('/v3/maintenance/status', url), { method: 'POST', body: '{}', signal });
    return statusAnswer.parse(await response.json());
  } catch {
    return null; // down, or not ours to ask
  }
}
