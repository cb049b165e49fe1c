import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import * as z from 'zod';
import type { Logger } from '../base/log.js';
import { name, nodeAddresses, type NodeRecord } from '../meta/model.js';

/** Nodes that a file remembers. */
const MAX_NODES = 256;

const remembered = z.object({ version: z.literal(1), nodes: z.array(z.object({ id: name, addresses: nodeAddresses })).max(MAX_NODES) });
export type RememberedNode = z.infer<typeof remembered>['nodes'][number];

/**
 * The nodes that a datapath knew when it last ran: a start that does not find the Stargate of its machine asks these for the metadata. Only a help:
 * a file that is missing or damaged costs nothing else.
 */
export function readRememberedNodes(path: string, log: Logger): readonly RememberedNode[] {
  try {
    return remembered.parse(JSON.parse(readFileSync(path, 'utf8'))).nodes;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.log('warn', 'the nodes of the last run are not readable; going on without them', { path, error: (error as Error).message });
    return [];
  }
}

export function rememberNodes(path: string, records: readonly NodeRecord[], log: Logger): void {
  const nodes = records.slice(0, MAX_NODES).map(({ id, addresses }) => ({ id, addresses }));
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify({ version: 1, nodes } satisfies z.infer<typeof remembered>)}\n`, { mode: 0o644 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    log.log('warn', 'the known nodes could not be written down for the next start', { path, error: (error as Error).message });
  }
}
