import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileDurably } from '../write-file.js';

/**
 * `DIR/cluster.json`: who runs under `gatepath up`, for client commands and for anybody's scripts. Written whole and
 * renamed into place when everything serves, again whenever a pid changes, and removed at a clean stop.
 */
export interface ClusterFile {
  readonly version: 1;
  readonly nodes: readonly ClusterNode[];
  /** Empty when the metadata store is embedded. */
  readonly etcd: readonly { readonly pid: number; readonly address: string }[];
  readonly datapath: { readonly pid: number; readonly nbdSocket: string };
  /** URL of the web console, or null where there is none. */
  readonly console: string | null;
}

export interface ClusterNode {
  readonly id: string;
  readonly pid: number;
  readonly dataDir: string;
  /** Where the node's control API listens. */
  readonly address: string;
  /** The argument vector that starts this node again. */
  readonly command: readonly string[];
}

export function writeClusterFile(dataDir: string, content: ClusterFile): void {
  writeFileDurably(join(dataDir, 'cluster.json'), `${JSON.stringify(content, null, 2)}\n`);
}

export function removeClusterFile(dataDir: string): void {
  rmSync(join(dataDir, 'cluster.json'), { force: true });
}
