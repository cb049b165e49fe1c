import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GatepathError } from '../../../base/errors.js';
import { ControlClient } from '../../../control/client.js';
import { isRemovedDirectory } from '../../../stargate/data-directory.js';
import { datapathPidFile, PID_FILE } from '../../pid-file.js';
import type { ClusterFile, ProcessNetwork } from '../cluster-file.js';
import { Child } from './child.js';
import { etcdCommand, etcdSocket, etcdUrl, isEtcdHealthy } from './etcd.js';
import type { ClusterLayout, ClusterPaths } from './layout.js';
import type { Namespaces, Place } from './namespaces.js';
import { datapathHost, DATAPATH_NAME, nodeHost } from './network.js';
import { endStranger, isRunning, pidIn } from './pids.js';

export interface ClusterOptions {
  readonly layout: ClusterLayout;
  readonly paths: ClusterPaths;
  /** The program. */
  readonly etcd: string;
  /** null: all are in the machine's own network. */
  readonly namespaces: Namespaces | null;
  /** Start what ends by itself again. */
  readonly restart: boolean;
  /** The command line of Gatepath itself: node and its script. */
  readonly command: readonly string[];
  /** A line for whoever watches. */
  readonly say: (line: string) => void;
  /** Another process serves, under another pid. */
  readonly onChange: () => void;
}

const START_TIMEOUT_MS = 90_000;
/** Longer than a process takes before it ends itself. */
const STOP_TIMEOUT_MS = 8_000;
const POLL_MS = 100;
const PID_POLL_MS = 200;

interface Plan {
  readonly name: string;
  /** Where it runs: a node and its member of etcd are in one. */
  readonly place: Place;
  readonly argv: readonly string[];
  /** What tells its command line from others. */
  readonly mark: string;
  /** Where who serves says so: it may be another process than the one that was started here. */
  readonly pidFile?: string;
}

/** The processes of a cluster on one machine: etcd, Stargates, a datapath. */
export class LocalCluster {
  readonly #children = new Map<string, Child>();
  readonly #etcd: readonly Plan[];
  /** Without those that have been removed. */
  #nodes: readonly Plan[];
  readonly #datapath: Plan;
  /** Node → who serves it: our child, or one that somebody started by hand. */
  readonly #serving = new Map<string, number>();
  #watch: NodeJS.Timeout | null = null;
  #isComplete = false;
  #stopping = false;

  constructor(private readonly options: ClusterOptions) {
    const { layout, paths, command, etcd } = options;
    const places = layout.nodes.map(({ id }, i): Place => ({ name: id, host: nodeHost(layout.network, i) }));
    this.#etcd = layout.etcd.map((_, i) => ({
      name: `etcd-${i + 1}`,
      place: places[i]!,
      argv: this.#in(places[i]!, etcdCommand(etcd, layout, paths, i)),
      mark: paths.etcd(i),
    }));
    this.#nodes = layout.nodes.map(({ id }, i) => ({
      name: id,
      place: places[i]!,
      argv: this.#in(places[i]!, [...command, 'stargate', '--config', paths.nodeConfig(id)]),
      mark: paths.nodeConfig(id),
      pidFile: join(paths.node(id), PID_FILE),
    }));
    const place = { name: DATAPATH_NAME, host: datapathHost(layout.network) };
    const config = paths.datapathConfig();
    this.#datapath = {
      name: DATAPATH_NAME,
      place,
      argv: this.#in(place, [...command, 'datapath', '--config', config]),
      mark: config,
      pidFile: datapathPidFile(paths.nbdSocket()),
    };
  }

  /** Resolves when everything serves. To be stopped where it rejects, too. */
  async start(): Promise<void> {
    const { paths, say } = this.options;
    mkdirSync(paths.logs(), { recursive: true, mode: 0o700 });
    mkdirSync(paths.run(), { recursive: true, mode: 0o700 });
    await this.#endLeftOver();
    this.options.namespaces?.create([...this.#nodes, this.#datapath].map(({ place }) => place));
    for (const plan of this.#etcd) this.#start(plan);
    await this.#whenEtcdAnswers();
    say(`etcd answers: ${this.#etcd.length} members`);
    this.#dropRemoved();
    for (const plan of this.#nodes) this.#start(plan);
    const isThere = (plan: Plan): boolean => this.#isRemoved(plan) || this.#pidOf(plan) === this.#children.get(plan.name)!.pid;
    await Promise.all(this.#nodes.map(plan => this.#when(plan, () => isThere(plan))));
    this.#dropRemoved();
    for (const plan of this.#nodes) this.#serving.set(plan.name, this.#pidOf(plan)!);
    say(`${this.#nodes.length} nodes serve`);
    this.#start(this.#datapath);
    const client = new ControlClient({ socketPath: paths.datapathControl() });
    await this.#when(this.#datapath, async () => (await client.status()).datapath?.pid === this.#children.get(DATAPATH_NAME)!.pid);
    this.#serving.set(DATAPATH_NAME, this.#children.get(DATAPATH_NAME)!.pid);
    this.#isComplete = true;
    this.#watch = setInterval(() => this.#lookForPids(), PID_POLL_MS);
  }

  /** A node that answers, the first of those that do. */
  async client(): Promise<ControlClient> {
    const { paths, layout } = this.options;
    return ControlClient.ofFirst(layout.nodes.map(({ id }) => ({ socketPath: paths.nodeControl(id) })));
  }

  describe(): Pick<ClusterFile, 'nodes' | 'etcd' | 'datapath'> {
    const { layout, paths } = this.options;
    return {
      nodes: this.#nodes.map(({ name, argv, place }) => ({
        id: name,
        pid: this.#serving.get(name)!,
        dataDir: paths.node(name),
        address: `unix:${paths.nodeControl(name)}`,
        command: argv,
        network: this.#networkOf(place),
      })),
      etcd: this.#etcd.map(({ name, argv, place }, i) => ({
        pid: this.#children.get(name)!.pid,
        address: etcdUrl(layout, i),
        socket: etcdSocket(paths, i),
        command: argv,
        network: this.#networkOf(place),
      })),
      datapath: {
        node: this.#nodes[0]!.name,
        pid: this.#pidOf(this.#datapath) ?? this.#children.get(DATAPATH_NAME)!.pid,
        nbdSocket: paths.nbdSocket(),
        command: this.#datapath.argv,
        network: this.#networkOf(this.#datapath.place),
      },
    };
  }

  /** Guests' endpoint first, then what it needs. Those started by hand, too. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    await this.#stopAll([this.#datapath]);
    await this.#stopAll(this.#nodes);
    // One after the other: a leader that goes hands over first, and would wait for one that goes with it.
    for (const plan of this.#etcd) await this.#stopAll([plan]);
    this.options.namespaces?.remove();
  }

  #in(place: Place, argv: readonly string[]): readonly string[] {
    return [...(this.options.namespaces?.enter(place.name) ?? []), ...argv];
  }

  #networkOf({ name, host }: Place): ProcessNetwork | null {
    const { namespaces } = this.options;
    return namespaces === null ? null : { namespace: namespaces.nameOf(name), address: host, enter: namespaces.enter(name) };
  }

  async #stopAll(plans: readonly Plan[]): Promise<void> {
    await Promise.all(plans.flatMap(({ name }) => this.#children.get(name)?.stop(STOP_TIMEOUT_MS) ?? []));
    await Promise.all(plans.map(plan => this.#endStranger(plan)));
  }

  // ---------------------------------------------------------------- children

  #start(plan: Plan): void {
    const { name, argv } = plan;
    const { paths, restart, say, onChange } = this.options;
    const runFile = join(paths.run(), `${name}.pid`);
    const child = new Child({
      name,
      argv,
      logFile: join(paths.logs(), `${name}.log`),
      restart,
      onStart: started => {
        writeFileSync(runFile, `${started.pid}\n`);
        // A node changes hands when it serves.
        if (this.#isComplete && !this.#nodes.some(node => node.name === name)) onChange();
      },
      isReplaced: ({ pid }) => this.#isRemoved(plan) || ![null, pid].includes(this.#pidOf(plan)),
      onEnd: (_, how) => {
        if (this.#stopping || !this.#isComplete) return;
        const next = restart ? 'it is started again' : `start it again with: ${argv.map(quoted).join(' ')}`;
        say(`${name} has ended (${how}); ${next}`);
      },
    });
    this.#children.set(name, child);
  }

  /** Of one that was started by hand, or by the one before it, as well. */
  #pidOf({ mark, pidFile }: Plan): number | null {
    const pid = pidFile === undefined ? null : pidIn(pidFile);
    return pid !== null && isRunning(pid, mark) ? pid : null;
  }

  #lookForPids(): void {
    let hasChanged = this.#dropRemoved();
    for (const plan of [...this.#nodes, this.#datapath]) {
      const pid = this.#pidOf(plan);
      const { wasReplaced } = this.#children.get(plan.name)!;
      // Nobody else hears of the end of a process that is not our child.
      if (pid === null && wasReplaced && this.options.restart) this.#start(plan);
      if (pid === null || pid === this.#serving.get(plan.name)) continue;
      this.#serving.set(plan.name, pid);
      this.options.say(`${plan.name} serves again, pid ${pid}`);
      hasChanged = true;
    }
    if (hasChanged) this.options.onChange();
  }

  /** Removed from the cluster: its process has ended, or is about to. */
  #isRemoved({ name }: Plan): boolean {
    return isRemovedDirectory(this.options.paths.node(name));
  }

  #dropRemoved(): boolean {
    const removed = this.#nodes.filter(plan => this.#isRemoved(plan));
    for (const { name } of removed)
      this.options.say(
        `${name} has been removed from the cluster; if its directory were deleted, the next start would make a new node of this name`,
      );
    this.#nodes = this.#nodes.filter(plan => !removed.includes(plan));
    return removed.length > 0;
  }

  /** Who serves a node, or is about to: one that was started by hand, or left over by an `up` that could not stop it. */
  async #endStranger(plan: Plan): Promise<void> {
    const files = [...(plan.pidFile === undefined ? [] : [plan.pidFile]), join(this.options.paths.run(), `${plan.name}.pid`)];
    for (const pid of files.map(pidIn)) if (pid !== null) await endStranger(pid, plan.mark, STOP_TIMEOUT_MS);
  }

  async #endLeftOver(): Promise<void> {
    for (const plans of [[this.#datapath], this.#nodes, this.#etcd]) await Promise.all(plans.map(plan => this.#endStranger(plan)));
  }

  // ---------------------------------------------------------------- waiting

  async #whenEtcdAnswers(): Promise<void> {
    const sockets = this.#etcd.map((_, i) => etcdSocket(this.options.paths, i));
    await this.#when(this.#etcd[0]!, async () => (await Promise.all(sockets.map(isEtcdHealthy))).includes(true));
  }

  /** An error of `holds` counts as no. Fails when a process ends that is needed for it. */
  async #when(plan: Plan, holds: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      if (
        await Promise.resolve()
          .then(holds)
          .catch(() => false)
      )
        return;
      for (const child of this.#children.values())
        if (child.ended !== null && !child.wasReplaced && !this.options.restart) throw startFailed(child);
      if (this.#stopping) throw new GatepathError('retryable', 'ERR_STOPPING', 'stopped before everything served', '');
      if (performance.now() > endMs) {
        const message = `${plan.name} does not serve after ${START_TIMEOUT_MS / 1_000} s`;
        throw new GatepathError('retryable', 'ERR_START', message, `see ${this.#children.get(plan.name)!.options.logFile}`);
      }
      await delay(POLL_MS);
    }
  }
}

function startFailed({ options: { name, logFile }, ended, lastWords }: Child): GatepathError {
  return new GatepathError('retryable', 'ERR_START', `${name} has ended (${ended}):\n${lastWords}`, `its log is ${logFile}`);
}

const quoted = (word: string): string => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
