import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { GatepathError } from '../base/errors.js';

const process = {
  pid: z.number().int().positive(),
  /** Absent or null: in the machine's own network, as the drill itself. */
  network: z
    .object({
      namespace: z.string().max(256),
      address: z.string().max(64).optional(),
      enter: z.array(z.string().max(4_096)).min(1).max(64),
    })
    .nullish(),
};

const command = z.array(z.string().max(65_536)).min(1).max(1_024);

/** `DIR/cluster.json` of a running system: who runs, where it listens, how it is started again. */
const clusterFile = z.object({
  version: z.literal(1),
  nodes: z
    .array(
      z.object({
        ...process,
        id: z.string().min(1).max(256),
        dataDir: z.string().max(4_096),
        address: z.string().max(4_096),
        command,
      }),
    )
    .min(1)
    .max(256),
  etcd: z
    .array(z.object({ ...process, address: z.string().max(4_096), socket: z.string().max(4_096).optional(), command: command.optional() }))
    .max(64),
  datapath: z.object({ ...process, nbdSocket: z.string().max(4_096), node: z.string().max(256).optional() }),
});
export type ClusterFile = z.infer<typeof clusterFile>;
export type ClusterNode = ClusterFile['nodes'][number];
export type EtcdMember = ClusterFile['etcd'][number];

/** null: there is none (it is written when everything serves). */
export function readClusterFile(dataDir: string): ClusterFile | null {
  const path = join(dataDir, 'cluster.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return null;
  }
  const parsed = clusterFile.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const action = 'give --data the directory of a system that "gatepath up" of this version runs';
  throw new GatepathError('invalid', 'ERR_CLUSTER_FILE', `${path} is not as it should be: ${z.prettifyError(parsed.error)}`, action);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
