import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClusterFile } from '../../src/main/up/cluster-file.js';
import { check, run, TestProcess, type RunResult } from './process.js';
import type { NbdSystem } from './system.js';

const COMMAND = fileURLToPath(new URL('../../dist/bundle/gatepath.js', import.meta.url));
/** The same file by file. */
const COMMAND_OF_MODULES = fileURLToPath(new URL('../../dist/main/gatepath.js', import.meta.url));
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 60_000;

export function gatepathArgv(...args: readonly string[]): readonly string[] {
  return argvOf(COMMAND, args);
}

/** A planted bug: a module that is loaded before the command itself, in its threads too, and changes what it finds in `dist`. */
export interface Mutant {
  readonly argv: (...args: readonly string[]) => readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Without a module: the command as it is. */
export function mutantOf(module?: URL): Mutant {
  if (module === undefined) return { argv: gatepathArgv, env: {} };
  // The bundle has what it needs in itself, and would not be changed.
  return { argv: (...args) => argvOf(COMMAND_OF_MODULES, args), env: { NODE_OPTIONS: `--import=${fileURLToPath(module)}` } };
}

function argvOf(command: string, args: readonly string[]): readonly string[] {
  if (!existsSync(command)) throw new Error(`${command} is missing: npm run build`);
  return [process.execPath, command, ...args];
}

/** Runs a client verb that must succeed; gives its stdout. */
export function gatepath(...args: readonly string[]): Promise<string> {
  return check(gatepathArgv(...args));
}

/** Runs a client verb, whatever its exit status. */
export function runGatepath(...args: readonly string[]): Promise<RunResult> {
  return run(gatepathArgv(...args));
}

export interface GatepathUpOptions {
  readonly dataDir: string;
  readonly vdisk: string;
  /** As the command line reads it: `10G`. */
  readonly size: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Before the command: `taskset -c 0`. */
  readonly prefix?: readonly string[];
  /** Arguments of node itself. */
  readonly nodeArgs?: readonly string[];
  readonly extraArgs?: readonly string[];
  /** The command of another checkout, built. */
  readonly command?: string;
}

/** The command of a checkout, as its build has left it: older ones have no bundle. */
export function commandOf(checkout: string): string {
  const [bundle, modules] = [join(checkout, 'dist', 'bundle', 'gatepath.js'), join(checkout, 'dist', 'main', 'gatepath.js')];
  return existsSync(bundle) ? bundle : modules;
}

/** `gatepath up` with one vdisk: Stargate and datapath in one process. */
export class GatepathUp implements NbdSystem {
  readonly socket: string;
  readonly exportName: string;
  #process: TestProcess | undefined;

  constructor(readonly options: GatepathUpOptions) {
    this.socket = join(options.dataDir, 'nbd.sock');
    this.exportName = options.vdisk;
  }

  get process(): TestProcess {
    if (this.#process === undefined) throw new Error('not started');
    return this.#process;
  }

  async start(): Promise<void> {
    const { dataDir, vdisk, size, env = {}, prefix = [], nodeArgs = [], extraArgs = [] } = this.options;
    const [node, ...command] = argvOf(this.options.command ?? COMMAND, [
      'up',
      '--data',
      dataDir,
      '--vdisk',
      `${vdisk}:${size}`,
      ...extraArgs,
    ]);
    const argv = [...prefix, node!, ...nodeArgs, ...command];
    const up = TestProcess.start(argv, { env });
    this.#process = up;
    // A killed predecessor leaves its file behind: it is ours when it names our pid. taskset execs, so the pid is ours there, too.
    await up.waitUntil('gatepath up serves', START_TIMEOUT_MS, () => readClusterFile(dataDir)?.datapath.pid === up.pid);
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async stop(): Promise<void> {
    const status = await this.#process?.stop(STOP_TIMEOUT_MS, 'SIGINT');
    if (status !== undefined && status.code !== 0) {
      throw new Error(`gatepath up ended with ${JSON.stringify(status)}\n${this.process.output}`);
    }
  }
}

export function readClusterFile(dataDir: string): ClusterFile | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'cluster.json'), 'utf8')) as ClusterFile;
  } catch {
    return undefined; // not there yet: it is renamed into place whole
  }
}
