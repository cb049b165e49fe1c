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
  readonly etcd: readonly ClusterEtcd[];
  readonly datapath: ClusterDatapath;
  /** URL of the web console, or null where there is none. */
  readonly console: string | null;
}

export interface ClusterProcess {
  readonly pid: number;
  /** The argument vector that starts it again, there where it was. */
  readonly command: readonly string[];
  /** Where it is; null: in the machine's own network. */
  readonly network: ProcessNetwork | null;
}

export interface ProcessNetwork {
  /** As `ip netns` names it. */
  readonly namespace: string;
  /** The process's own there. */
  readonly address: string;
  /** What stands before a command that is to run there. */
  readonly enter: readonly string[];
}

export interface ClusterNode extends ClusterProcess {
  readonly id: string;
  readonly dataDir: string;
  /** Where the node's control API listens. */
  readonly address: string;
}

export interface ClusterEtcd extends ClusterProcess {
  /** URL for clients, with a certificate where it is https. */
  readonly address: string;
  /** The same over a Unix socket, without. */
  readonly socket: string;
}

export interface ClusterDatapath extends ClusterProcess {
  /** The node on its host. */
  readonly node: string;
  readonly nbdSocket: string;
}

export function writeClusterFile(dataDir: string, content: ClusterFile): void {
  writeFileDurably(join(dataDir, 'cluster.json'), `${JSON.stringify(content, null, 2)}\n`);
}

export function removeClusterFile(dataDir: string): void {
  rmSync(join(dataDir, 'cluster.json'), { force: true });
}
