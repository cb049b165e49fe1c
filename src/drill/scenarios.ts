import { GatepathError } from '../base/errors.js';
import { sleep, type Facts } from './cluster.js';
import { lostAnswers } from './answer-faults.js';
import { diskScenarios } from './disk-faults.js';
import { diskRot } from './disk-rot.js';
import { etcdLeader } from './etcd-fault.js';
import { networkScenarios } from './network-faults.js';
import { FAILBACK_TIMEOUT_MS, FLAP_REST_MS, FLAPS, HANG_MS, HEALTH_POLL_MS, START_TIMEOUT_MS } from './limits.js';
import { waitForExit } from './processes.js';
import { controllerOf, memberOf } from './roles.js';
import type { Bound, FaultContext, Scenario } from './scenario.js';

/** With a copy elsewhere the guest waits as long as the table of pauses says; without one it waits, and goes on when the path is back. */
const gap =
  (ms: number) =>
  ({ nodes }: Facts): Bound =>
    nodes > 1 ? { kind: 'gap', ms } : { kind: 'resume', ms: 1_000 };

const always = (): null => null;
const needsMembers = ({ nodes }: Facts): string | null =>
  nodes > 1 ? null : 'it needs a second node: this system has one (gatepath up --nodes 3)';

const quiet: Scenario = {
  name: 'quiet',
  title: 'no fault at all, to compare with',
  unsuitable: always,
  bound: () => ({ kind: 'over-quiet', ms: 10 }),
  comparesWithBefore: true,
  run: context => {
    context.fault('nothing');
    context.healed('nothing');
    return Promise.resolve();
  },
};

const kill: Scenario = {
  name: 'kill',
  title: "the controller's process is killed, and started again",
  unsuitable: always,
  bound: gap(250),
  run: async context => killAndStart(context, controllerOf(context), context.holdMs),
};

const hang: Scenario = {
  name: 'hang',
  title: "the controller's process stands still for a while",
  unsuitable: always,
  bound: gap(1_500),
  run: async context => stopAndContinue(context, controllerOf(context)),
};

const upgrade: Scenario = {
  name: 'upgrade',
  title: "the controller's process is stopped as for an upgrade, and started again",
  unsuitable: always,
  bound: gap(50),
  run: async context => {
    const id = controllerOf(context);
    const { cluster } = context;
    context.undo(() => cluster.start(id));
    await cluster.restart(id, 0, what => {
      if (what === 'stopping') context.fault(`SIGTERM to ${id}, the controller`);
      else context.watch.mark('state', `${id} has ended`);
    });
    context.healed(`${id} is back`);
  },
};

const datapathUpgrade: Scenario = {
  name: 'datapath-upgrade',
  title: 'the datapath process is replaced by another one, which goes on with its connections',
  unsuitable: ({ endpointDies }) =>
    endpointDies ? 'the datapath is one process with the storage, and is not replaced by itself (gatepath up --nodes 3)' : null,
  // One session is opened anew, and what is outstanding at that moment is answered first.
  bound: () => ({ kind: 'gap', ms: 250 }),
  run: async context => {
    const { cluster } = context;
    const { pid } = cluster.file.datapath;
    context.fault(`SIGUSR2 to the datapath, pid ${pid}`);
    process.kill(pid, 'SIGUSR2');
    const deadlineMs = performance.now() + START_TIMEOUT_MS;
    while (cluster.file.datapath.pid === pid) {
      if (performance.now() > deadlineMs) {
        const message = `the datapath was not replaced within ${START_TIMEOUT_MS} ms`;
        throw new GatepathError('retryable', 'ERR_NOT_REPLACED', message, 'see its log');
      }
      await sleep(HEALTH_POLL_MS);
    }
    context.healed(`it is pid ${cluster.file.datapath.pid} now`);
  },
};

const member: Scenario = {
  name: 'member',
  title: 'a member that is not the controller is killed, and started again',
  unsuitable: needsMembers,
  bound: () => ({ kind: 'gap', ms: 250 }),
  run: async context => killAndStart(context, memberOf(context), context.holdMs),
};

const memberHang: Scenario = {
  name: 'member-hang',
  title: 'a member that is not the controller stands still for a while',
  unsuitable: needsMembers,
  bound: () => ({ kind: 'gap', ms: 1_000 }),
  run: async context => stopAndContinue(context, memberOf(context)),
};

const flap: Scenario = {
  name: 'flap',
  title: `the controller's node is killed and started again ${FLAPS} times in a row`,
  unsuitable: always,
  bound: gap(250),
  run: async context => {
    const id = controllerOf(context);
    for (let i = 0; i < FLAPS; i++) {
      await killAndStart(context, id, FLAP_REST_MS);
      await sleep(FLAP_REST_MS);
    }
  },
};

const failback: Scenario = {
  name: 'failback',
  title: 'after a kill the node is back, and the vdisk goes back to it',
  unsuitable: needsMembers,
  bound: () => ({ kind: 'gap', ms: 50 }),
  // The datapath waits twice as long after each return that did not last: to a new attachment none has been.
  prepare: async (cluster, { vdisk }) => {
    await cluster.ask(client => client.detach(vdisk));
    await cluster.attach(vdisk);
  },
  run: async context => {
    const id = controllerOf(context);
    await killAndStart(context, id, context.holdMs);
    while (!context.watch.isRedundant) await sleep(HEALTH_POLL_MS);
    context.measureFromHere(`${id} is a whole copy again`);
    const deadline = performance.now() + FAILBACK_TIMEOUT_MS;
    while (context.watch.view?.controller !== id) {
      if (performance.now() > deadline) {
        const message = `the vdisk did not go back to ${id} within ${FAILBACK_TIMEOUT_MS} ms`;
        throw new GatepathError('retryable', 'ERR_NO_FAILBACK', message, 'see "gatepath vdisk show"');
      }
      await sleep(HEALTH_POLL_MS);
    }
    context.healed(`${id} is the controller again`);
  },
};

export const SCENARIOS: readonly Scenario[] = [
  quiet,
  kill,
  hang,
  upgrade,
  datapathUpgrade,
  failback,
  flap,
  member,
  memberHang,
  etcdLeader,
  ...networkScenarios,
  lostAnswers,
  ...diskScenarios,
  diskRot,
];

async function killAndStart(context: FaultContext, id: string, downMs: number): Promise<void> {
  const { cluster } = context;
  context.undo(() => cluster.start(id));
  const target = await cluster.target(id);
  context.fault(`SIGKILL to ${id}`);
  target.signal('SIGKILL');
  await waitForExit(target.pid);
  await sleep(downMs);
  await cluster.start(id);
  context.healed(`${id} is back`);
}

async function stopAndContinue(context: FaultContext, id: string): Promise<void> {
  const target = await context.cluster.target(id);
  context.undo(() => target.signal('SIGCONT'));
  context.fault(`SIGSTOP to ${id}`);
  target.signal('SIGSTOP');
  await sleep(Math.max(HANG_MS, context.holdMs));
  target.signal('SIGCONT');
  context.healed(`SIGCONT to ${id}`);
}
