import { join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import { sleep } from './cluster.js';
import type { EtcdMember } from './cluster-file.js';
import { findLeader } from './etcd.js';
import { HANG_MS } from './limits.js';
import { imageOf, startProcess, waitForExit } from './processes.js';
import type { FaultContext, Scenario } from './scenario.js';

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

async function killAndStart(context: FaultContext, { address, pid, command }: EtcdMember): Promise<void> {
  const { cluster } = context;
  const image = imageOf(pid);
  if (image === null) throw new GatepathError('retryable', 'ERR_NO_LEADER', `etcd process ${pid} is gone`, 'try again');
  let restarted = false;
  const restart = (): void => {
    const again = { ...image, argv: command ?? image.argv };
    if (!restarted) cluster.started.set(address, startProcess(again, join(cluster.dataDir, 'drill-etcd.log')));
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
