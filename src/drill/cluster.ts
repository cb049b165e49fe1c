import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import { ControlClient, type ControlAddress } from '../control/client.js';
import type { AttachmentView, StatusView, VdiskView } from '../control/schemas.js';
import { readClusterFile, type ClusterFile, type ClusterNode } from './cluster-file.js';
import { ASK_TIMEOUT_MS, HEALTH_POLL_MS, START_TIMEOUT_MS } from './limits.js';
import { networkOf } from './networks.js';
import { imageOf, isAlive, signalProcess, startProcess, waitForExit, type ProcessImage } from './processes.js';

/** Others may know more than the one that answers first. */
const LATE_ANSWER_MS = 100;

/** What there is of the cluster when a round begins. */
export interface Facts {
  readonly nodes: number;
  /** NBD endpoint and Stargate are one process. */
  readonly endpointDies: boolean;
  readonly etcd: number;
  /** Each node lives in a network namespace of its own, and so does the datapath. */
  readonly ownNetworks: boolean;
  readonly ownHostNetwork: boolean;
  /** The drill has started it, and may do what it likes to it. */
  readonly isOwn: boolean;
}

/** A node's process, to be killed, stopped or continued. */
export interface Target {
  readonly id: string;
  readonly pid: number;
  signal(signal: NodeJS.Signals): void;
}

/** A running system as its cluster.json and its management API show it. */
export class Cluster {
  /** Processes that the drill has started in place of others, and of etcd's members who is which now. */
  readonly started = new Map<string, number>();
  /** How each process was started, noted while it ran. */
  readonly #images = new Map<string, ProcessImage>();
  #file: ClusterFile;

  constructor(
    readonly dataDir: string,
    readonly isOwn: boolean,
  ) {
    const file = readClusterFile(dataDir);
    if (file === null) {
      const message = `there is no ${join(dataDir, 'cluster.json')}`;
      throw new GatepathError('retryable', 'ERR_NOT_RUNNING', message, 'start a system with "gatepath up", or leave --data away');
    }
    this.#file = file;
  }

  /** As it is now; as it was, while nobody keeps it. */
  get file(): ClusterFile {
    this.#file = readClusterFile(this.dataDir) ?? this.#file;
    return this.#file;
  }

  get facts(): Facts {
    const { nodes, etcd, datapath } = this.file;
    const networks = new Set([networkOf(process.pid), ...nodes.map(node => networkOf(node.pid))]);
    return {
      nodes: nodes.length,
      endpointDies: nodes.some(node => node.pid === datapath.pid),
      etcd: etcd.length,
      ownNetworks: networks.size === nodes.length + 1,
      ownHostNetwork: !networks.has(networkOf(datapath.pid)),
      isOwn: this.isOwn,
    };
  }

  node(id: string): ClusterNode {
    const node = this.file.nodes.find(one => one.id === id);
    if (node !== undefined) return node;
    throw new GatepathError('invalid', 'ERR_NO_NODE', `cluster.json has no node "${id}"`, 'see that it belongs to the system that runs');
  }

  client(node: ClusterNode, timeoutMs = ASK_TIMEOUT_MS): ControlClient {
    return new ControlClient(addressOf(node.address), timeoutMs);
  }

  /** Asks each node in turn until one has done it. */
  async ask<T>(question: (client: ControlClient) => Promise<T>, timeoutMs = START_TIMEOUT_MS): Promise<T> {
    let last: unknown;
    for (const node of this.file.nodes) {
      try {
        return await question(this.client(node, timeoutMs));
      } catch (error) {
        if (!(error instanceof GatepathError && error.code === 'ERR_NOT_RUNNING')) throw error;
        last = error;
      }
    }
    throw last;
  }

  /** Of those that answer, who knows the newest epoch; null: nobody answers. */
  async look(vdisk: string): Promise<VdiskView | null> {
    const views: VdiskView[] = [];
    const all = this.file.nodes.map(async node => void views.push(await this.client(node).showVdisk(vdisk)));
    const settled = Promise.allSettled(all);
    await Promise.any(all).catch(() => undefined);
    await Promise.race([settled, sleep(LATE_ANSWER_MS)]);
    views.sort((a, b) => b.epoch - a.epoch || b.term - a.term);
    return views[0] ?? null;
  }

  /** null: it does not answer. */
  async status(node: ClusterNode): Promise<StatusView | null> {
    return this.client(node)
      .status()
      .catch(() => null);
  }

  /** The node's process, by its own word, or else by cluster.json. */
  async pidOf(id: string): Promise<number> {
    const node = this.node(id);
    return (await this.status(node))?.node?.pid ?? node.pid;
  }

  async attach(vdisk: string): Promise<AttachmentView> {
    const attached = await this.ask(client => client.attach(vdisk, {}));
    if (attached.exported && attached.nbdSocket !== null) return attached;
    const message = `vdisk "${vdisk}" is attached at ${attached.host}, but its datapath does not offer it`;
    throw new GatepathError('retryable', 'ERR_NOT_EXPORTED', message, 'see that the datapath runs');
  }

  /** Nodes that do not run. */
  ended(): string[] {
    return this.file.nodes.filter(({ id, pid }) => !isAlive(pid) && !isAlive(this.started.get(id) ?? 0)).map(({ id }) => id);
  }

  /** Makes ready to send signals to a node: finds its process, and notes how it is started again. Sending is then done at once. */
  async target(id: string): Promise<Target> {
    const pid = await this.pidOf(id);
    const image = imageOf(pid);
    if (image !== null) this.#images.set(id, image);
    const { command } = this.node(id);
    return { id, pid, signal: signal => signalProcess(pid, command, signal) };
  }

  /** As for an upgrade: it hands over what it controls, ends, and is started again; `supervisorMs`: so long whoever looks after it has to do so. */
  async restart(id: string, supervisorMs = 0, tell: (what: 'stopping' | 'ended') => void = () => undefined): Promise<void> {
    const target = await this.target(id);
    if (isAlive(target.pid)) {
      tell('stopping');
      target.signal('SIGTERM');
      await waitForExit(target.pid);
    }
    tell('ended');
    await this.start(id, supervisorMs);
  }

  /** Starts a node that has ended, unless somebody who looks after it has done so, and waits until it answers. */
  async start(id: string, supervisorMs = 0): Promise<void> {
    const node = this.node(id);
    const image = this.#images.get(id);
    let pid = node.pid;
    if (!isAlive(pid)) pid = await this.#supervised(id, supervisorMs);
    if (pid === 0) {
      const { cwd = process.cwd(), env = process.env as Record<string, string> } = image ?? {};
      pid = startProcess({ argv: node.command, cwd, env }, this.#logOf(id));
      this.started.set(id, pid);
    }
    await this.#untilServing(id, pid);
  }

  /** The process that `up --restart` has started, where it does so in time; 0: it does not. */
  async #supervised(id: string, withinMs: number): Promise<number> {
    for (const endMs = performance.now() + withinMs; performance.now() < endMs; await sleep(HEALTH_POLL_MS)) {
      const pid = pidIn(join(this.dataDir, 'run', `${id}.pid`));
      if (isAlive(pid)) return pid;
    }
    return 0;
  }

  /** Not in its data directory, which may have to be empty: where `up --nodes` has it. */
  #logOf(id: string): string {
    const logs = join(this.dataDir, 'log');
    return existsSync(logs) ? join(logs, `${id}.log`) : join(this.dataDir, `drill-${id}.log`);
  }

  async #untilServing(id: string, pid: number): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      const node = this.node(id);
      const status = await this.status(node);
      const running = status?.node?.pid;
      if (running !== undefined && (running === pid || running === node.pid) && isAlive(running)) return;
      if (!isAlive(pid) && !isAlive(node.pid)) {
        const action = `see what it says in ${this.#logOf(id)}`;
        throw new GatepathError('fatal', 'ERR_START', `node ${id}, started again, has ended`, action);
      }
      if (performance.now() > deadline) {
        throw new GatepathError('retryable', 'ERR_START', `node ${id} does not answer within ${START_TIMEOUT_MS} ms`, 'look at its log');
      }
      await sleep(HEALTH_POLL_MS / 4);
    }
  }
}

export const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** 0: there is none. */
function pidIn(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    return 0;
  }
}

function addressOf(text: string): ControlAddress {
  return text.startsWith('unix:') ? { socketPath: text.slice('unix:'.length) } : { url: text };
}
