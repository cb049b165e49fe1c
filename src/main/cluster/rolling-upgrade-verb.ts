import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Progress } from '../../cli/progress.js';
import { connectSystem, DEFAULT_DATA, type SystemOptions } from '../../cli/system.js';
import { ControlClient } from '../../control/client.js';
import type { SessionView } from '../../control/schemas.js';
import { Cluster } from '../../drill/cluster.js';
import { ClusterPaths } from '../up/nodes/layout.js';
import { VERSION } from '../version.js';
import { restartByCommand, RollingUpgrade } from './rolling-upgrade.js';

/** `up --restart` starts it again by itself, within that time. */
const SUPERVISOR_MS = 1_000;

/** `gatepath cluster rolling-upgrade`. Without a command: of what `gatepath up --nodes` runs on this machine. */
export async function rollingUpgrade(system: SystemOptions, command: string | null, isAll: boolean): Promise<void> {
  const data = resolve(system.data ?? DEFAULT_DATA);
  const local = command === null ? new Cluster(data, false) : null;
  const datapathSocket = new ClusterPaths(data).datapathControl();
  const sessions = async (): Promise<readonly SessionView[] | null> => {
    if (!existsSync(datapathSocket)) return null;
    const status = await new ControlClient({ socketPath: datapathSocket }).status().catch(() => null);
    return status?.datapath?.sessions ?? null;
  };
  const progress = new Progress();
  const upgrade = new RollingUpgrade({
    data,
    connect: () => connectSystem(system),
    restart: node => (local === null ? restartByCommand(command!, node) : local.restart(node, SUPERVISOR_MS)),
    version: VERSION,
    isAll,
    sessions,
    say: line => {
      progress.clear();
      console.log(line);
    },
    progress: text => progress.show(text),
  });
  try {
    const restarted = await upgrade.run();
    const { longestPauseMs } = upgrade;
    const pause = longestPauseMs === null ? '' : `; the longest pause of a disk here was ${Math.round(longestPauseMs)} ms`;
    progress.clear();
    console.log(restarted === 0 ? `all nodes run ${VERSION}` : `${restarted} nodes were upgraded to ${VERSION}${pause}`);
  } finally {
    progress.clear();
  }
}
