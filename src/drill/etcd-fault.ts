import { join } from 'node:path';
import { z } from 'zod';
import { GatepathError } from '../base/errors.js';
import { sleep, type Cluster } from './cluster.js';
import type { EtcdMember } from './cluster-file.js';
import { ASK_TIMEOUT_MS, HANG_MS } from './limits.js';
import { imageOf, startProcess, waitForExit } from './processes.js';
import type { FaultContext, Scenario } from './scenario.js';

const statusAnswer = z.object({ header: z.object({ member_id: z.string() }), leader: z.string() });

/** The leader of the metadata store is killed: the guest must not notice. */
export const etcdLeader: Scenario = {
  name: 'etcd-leader',
  title: 'the leader of etcd is killed and started again, or stands still for a while',
  unsuitable: ({ etcd }) => (etcd > 1 ? null : 'it needs a metadata store of several etcd members'),
  bound: () => ({ kind: 'over-quiet', ms: 10 }),
  comparesWithBefore: true,
  run: async context => {
    const { cluster } = context;
    const leader = await findLeader(cluster);
    // Of a system that is not the drill's, nobody would look after a member that was started by hand: it stands still instead.
    await (cluster.isOwn ? killAndStart(context, leader) : stopAndContinue(context, leader));
  },
};

async function killAndStart(context: FaultContext, { address, pid }: EtcdMember): Promise<void> {
  const { cluster } = context;
  const image = imageOf(pid);
  if (image === null) throw new GatepathError('retryable', 'ERR_NO_LEADER', `etcd process ${pid} is gone`, 'try again');
  let restarted = false;
  const restart = (): void => {
    if (!restarted) cluster.started.set(address, startProcess(image, join(cluster.dataDir, 'drill-etcd.log')));
    restarted = true;
  };
  context.undo(restart);
  context.fault(`SIGKILL to etcd's leader at ${address}`);
  process.kill(pid, 'SIGKILL');
  await waitForExit(pid);
  await sleep(context.holdMs);
  restart();
  context.healed('that member of etcd is started again');
}

async function stopAndContinue(context: FaultContext, { address, pid }: EtcdMember): Promise<void> {
  context.undo(() => void process.kill(pid, 'SIGCONT'));
  context.fault(`SIGSTOP to etcd's leader at ${address}`);
  process.kill(pid, 'SIGSTOP');
  await sleep(Math.max(HANG_MS, context.holdMs));
  process.kill(pid, 'SIGCONT');
  context.healed('that member of etcd goes on');
}

async function findLeader(cluster: Cluster): Promise<EtcdMember> {
  for (const { address, pid } of cluster.file.etcd) {
    const answer = await askStatus(address);
    if (answer === null || answer.header.member_id !== answer.leader) continue;
    const leader = { address, pid: cluster.started.get(address) ?? pid };
    // Whoever else may have its number by now is left alone.
    if (imageOf(leader.pid)?.argv.some(word => word.includes(new URL(urlOf(address)).host)) === true) return leader;
  }
  const action = 'see that etcd is healthy, and that it answers without a certificate at the addresses in cluster.json';
  throw new GatepathError('retryable', 'ERR_NO_LEADER', 'no member of etcd says that it leads', action);
}

async function askStatus(address: string): Promise<z.infer<typeof statusAnswer> | null> {
  try {
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
    const response = await fetch(new URL('/v3/maintenance/status', urlOf(address)), { method: 'POST', body: '{}', signal });
    return statusAnswer.parse(await response.json());
  } catch {
    return null; // down, or not ours to ask
  }
}

const urlOf = (address: string): string => (/^https?:/.test(address) ? address : `http://${address}`);
