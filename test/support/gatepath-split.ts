import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { NbdClient } from './nbd/client.js';
import { isAlive } from './gatepath-cluster.js';
import { gatepath, gatepathArgv, runGatepath } from './gatepath.js';
import { TestProcess } from './process.js';
import type { NbdSystem } from './system.js';

export type Part = 'stargate' | 'datapath';

export interface GatepathSplitOptions {
  readonly dir: string;
  readonly vdisk: string;
  readonly size: string;
  /** Of both processes. */
  readonly env?: Readonly<Record<string, string>>;
}

const START_TIMEOUT_MS = 180_000;
const REPLACE_TIMEOUT_MS = 150_000;
const STOP_TIMEOUT_MS = 60_000;

/** Stargate and datapath as two processes that talk over a Unix socket, with one vdisk attached. */
export class GatepathSplit implements NbdSystem {
  readonly socket: string;
  readonly exportName: string;
  readonly #parts = new Map<Part, TestProcess>();
  readonly #dataDir: string;

  constructor(readonly options: GatepathSplitOptions) {
    this.socket = join(options.dir, 'nbd.sock');
    this.exportName = options.vdisk;
    this.#dataDir = join(options.dir, 'data');
  }

  /** Starts both, creates and attaches the vdisk the first time. */
  async start(): Promise<void> {
    mkdirSync(this.options.dir, { recursive: true });
    await this.#writeConfigurations();
    await this.startPart('stargate');
    await gatepath('vdisk', 'create', this.options.vdisk, this.options.size, '--data', this.#dataDir);
    await gatepath('attach', this.options.vdisk, '--data', this.#dataDir);
    await this.startPart('datapath');
  }

  /** Resolves when the whole system answers again: a client can read. */
  async startPart(part: Part): Promise<void> {
    const child = TestProcess.start(gatepathArgv(part, '--config', this.#configPath(part)), { env: this.options.env ?? {} });
    this.#parts.set(part, child);
    if (part === 'stargate' && !this.#parts.has('datapath')) {
      await child.waitUntil('the control API', START_TIMEOUT_MS, () => answers('status', '--data', this.#dataDir));
    } else {
      await child.waitUntil('a read through NBD', START_TIMEOUT_MS, () => this.#reads());
    }
  }

  /** Starts a datapath that takes over from the one that runs; resolves when it serves and the other has ended. */
  async replaceDatapath(): Promise<{ readonly before: TestProcess; readonly now: TestProcess }> {
    const before = this.part('datapath');
    const now = this.startSuccessor();
    await now.waitUntil('it has taken over', REPLACE_TIMEOUT_MS, () => now.output.includes('"serving NBD"') || !now.isRunning);
    if (!now.isRunning) throw new Error(`it has not taken over\n${now.output}\n== before\n${before.output}`);
    const status = await before.exited;
    if (status.code !== 0) throw new Error(`the datapath that was replaced ended with ${JSON.stringify(status)}\n${before.output}`);
    this.#parts.set('datapath', now);
    return { before, now };
  }

  /** The datapath is a process that its predecessor has started: ended, and one of ours in its place. */
  async adoptDatapath(pid: number): Promise<void> {
    this.#parts.set('datapath', this.startSuccessor());
    const now = this.part('datapath');
    // It serves a moment before the other one has ended.
    const isOver = (): boolean => now.output.includes('"serving NBD"') && !isAlive(pid);
    await now.waitUntil('it has taken over', REPLACE_TIMEOUT_MS, () => isOver() || !now.isRunning);
    if (!now.isRunning) throw new Error(`it has not taken over\n${now.output}`);
  }

  /** One that is to replace the datapath, and may not come so far. */
  startSuccessor(configPath = this.#configPath('datapath')): TestProcess {
    return TestProcess.start(gatepathArgv('datapath', '--config', configPath, '--replace', '--log-format', 'json'));
  }

  part(part: Part): TestProcess {
    return this.#parts.get(part)!;
  }

  async killPart(part: Part): Promise<void> {
    await this.#parts.get(part)?.kill();
  }

  async kill(): Promise<void> {
    for (const child of this.#parts.values()) await child.kill();
  }

  async stop(): Promise<void> {
    for (const part of ['datapath', 'stargate'] as const) {
      const child = this.#parts.get(part);
      const status = await child?.stop(STOP_TIMEOUT_MS, 'SIGTERM');
      if (status !== undefined && status.code !== 0) throw new Error(`${part} ended with ${JSON.stringify(status)}\n${child!.output}`);
    }
  }

  /** What each has said, for the message of a failing test. */
  get output(): string {
    return [...this.#parts].map(([part, child]) => `== ${part}\n${child.output}`).join('\n');
  }

  #configPath(part: Part): string {
    return join(this.options.dir, `${part}.yaml`);
  }

  /** The command's own examples, with this test's paths in place of theirs: so the examples are tested as well. */
  async #writeConfigurations(): Promise<void> {
    const stargateSocket = join(this.options.dir, 'stargate.sock');
    const ours: Record<Part, object> = {
      stargate: { data: this.#dataDir, socket: stargateSocket, oplog: '512M' },
      datapath: { socket: this.socket, stargate: stargateSocket },
    };
    for (const part of ['stargate', 'datapath'] as const) {
      const example = parse(await gatepath('config', 'example', part)) as object;
      writeFileSync(this.#configPath(part), stringify({ ...example, ...ours[part] }));
    }
  }

  async #reads(): Promise<boolean> {
    try {
      const client = await NbdClient.connect({ socket: this.socket }, this.exportName);
      await client.read(0, 4096);
      await client.disconnect();
      return true;
    } catch {
      return false;
    }
  }
}

async function answers(...args: readonly string[]): Promise<boolean> {
  return (await runGatepath(...args)).code === 0;
}
