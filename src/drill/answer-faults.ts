import { spawnSync } from 'node:child_process';
import { GatepathError } from '../base/errors.js';
import { sleep, type Cluster } from './cluster.js';
import { servedElsewhere } from './handing-over.js';
import { DEAF_ANSWERS, DEAF_LEAST_MS, DEAF_MOST_MS, DEAF_POLL_MS, DEAF_REST_MS, DEAF_TIMES } from './limits.js';
import { mend, nft, TABLE, unsuitable } from './network-faults.js';
import { whileItGoesOn } from './patience.js';
import { controllerOf } from './roles.js';
import type { FaultContext, Scenario } from './scenario.js';

/** At least two: the requests of one are in doubt while the others go on, and see what becomes of them. */
const LEAST_CONNECTIONS = 2;

/**
 * What the controller answers to one of the datapath's connections is lost, then that connection is reset, again and again: what has been committed is sent once more, while
 * the other connections have written and read the same blocks. A Stargate that does not know again what it has done does it twice.
 */
export const lostAnswers: Scenario = {
  name: 'lost-answers',
  title: 'answers to one connection of the datapath after another are lost, and it is reset',
  needsNetworks: true,
  unsuitable: facts => {
    if (!facts.isOwn) return 'it makes a node hand over all that it serves, and does that to none but its own: leave --data away';
    return unsuitable(facts) ?? (facts.ownHostNetwork ? null : 'the datapath has no network namespace of its own');
  },
  bound: () => ({ kind: 'none' }),
  run: async context => {
    const { cluster, watch } = context;
    const { datapath } = cluster.file;
    const beside = datapath.node;
    const deafen = async (): Promise<void> => {
      context.undo(() => mend(datapath.pid));
      const ports = (): number[] => (watch.view?.controller == null ? [] : portsTo(cluster, controllerOf(context)));
      for (let i = 0; i < DEAF_TIMES; i++) {
        // A slow machine may make it change hands meanwhile.
        await whileItGoesOn('the datapath reaches the controller over TCP', () => {
          const { length } = ports();
          return { isDone: length >= LEAST_CONNECTIONS, text: `${length} connections; ${watch.text}` };
        });
        const all = ports();
        const port = all[i % all.length];
        if (port === undefined) continue;
        context.fault(`answers of ${controllerOf(context)} to port ${port} are lost`);
        await loseAnswers(context, datapath.pid, port);
        await sleep(DEAF_REST_MS);
      }
      context.healed('all answers arrive again');
    };
    // What goes over the host's own Unix socket cannot be lost.
    if (beside !== undefined && beside === controllerOf(context)) await servedElsewhere(context, beside, deafen);
    else await deafen();
  },
};

async function loseAnswers(context: Pick<FaultContext, 'answered'>, pid: number, port: number): Promise<void> {
  rule(pid, 'input', `tcp dport ${port} drop`);
  const [beginMs, before] = [performance.now(), context.answered()];
  const deafMs = (): number => performance.now() - beginMs;
  await sleep(DEAF_LEAST_MS);
  while (context.answered() - before < DEAF_ANSWERS && deafMs() < DEAF_MOST_MS) await sleep(DEAF_POLL_MS);
  mend(pid);
  // What it sends next is answered with a reset by its own host; the answers that come again find nobody, which ends the other side.
  rule(pid, 'output', `tcp sport ${port} reject with tcp reset`);
  await sleep(DEAF_LEAST_MS);
  mend(pid);
}

function rule(pid: number, hook: 'input' | 'output', what: string): void {
  nft(pid, `table inet ${TABLE} {\nchain ${hook} { type filter hook ${hook} priority -300; ${what}; }\n}`);
}

/** Local ports of the datapath's connections to the node. */
function portsTo(cluster: Cluster, id: string): number[] {
  const { pid } = cluster.file.datapath;
  const address = cluster.node(id).network?.address;
  if (address === undefined) return [];
  const args = ['-t', String(pid), '-n', 'ss', '-Htn', 'state', 'established', 'dst', address];
  const { status, stdout, stderr, error } = spawnSync('nsenter', args, { encoding: 'utf8' });
  if (status !== 0) {
    const message = `connections in the network namespace of process ${pid}: ${error?.message ?? stderr}`;
    throw new GatepathError(
      'fatal',
      'ERR_SS',
      message,
      'see that nsenter and ss (package iproute2) are installed, and run the drill as root',
    );
  }
  const ports = stdout.split('\n').flatMap(line => /:(\d+)\s+\S+\s*$/.exec(line)?.[1] ?? []);
  return ports.map(Number).sort((a, b) => a - b);
}
