import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { gatepath, gatepathArgv } from './gatepath.js';
import { NbdClient } from './nbd/client.js';
import { TestProcess } from './process.js';

const START_TIMEOUT_MS = 180_000;

/** The datapath of another host: configured as one that is there, with a name and sockets of its own. */
export class OtherDatapath {
  readonly socket: string;
  readonly #config: string;
  #process: TestProcess | undefined;

  constructor(
    dir: string,
    readonly host: string,
    likeConfig: string,
  ) {
    mkdirSync(dir, { recursive: true });
    this.socket = join(dir, 'nbd.sock');
    this.#config = join(dir, 'datapath.yaml');
    const like = parse(readFileSync(likeConfig, 'utf8')) as object;
    writeFileSync(this.#config, stringify({ ...like, socket: this.socket, control: join(dir, 'control.sock'), host }));
  }

  /** Resolves when the system with that data directory knows the host. */
  async start(data: string): Promise<void> {
    const child = TestProcess.start(gatepathArgv('datapath', '--config', this.#config));
    this.#process = child;
    await child.waitUntil(`host ${this.host} is known`, START_TIMEOUT_MS, async () => {
      const status = JSON.parse(await gatepath('status', '--json', '--data', data)) as { hosts: { name: string }[] };
      return status.hosts.some(({ name }) => name === this.host);
    });
  }

  connect(vdisk: string): Promise<NbdClient> {
    return NbdClient.connect({ socket: this.socket }, vdisk);
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }
}
