import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { DeafLink } from './deaf-link.js';
import { gatepath, gatepathArgv, mutantOf, runGatepath } from '../support/gatepath.js';
import { TestProcess } from '../support/process.js';

const START_TIMEOUT_MS = 60_000;

type Part = 'stargate' | 'datapath';

const examples = new Map<Part, object>();

/** What `gatepath config example` gives, asked for once. */
async function example(part: Part): Promise<object> {
  const known = examples.get(part);
  if (known !== undefined) return known;
  const config = parse(await gatepath('config', 'example', part)) as object;
  examples.set(part, config);
  return config;
}

/** A Stargate and a datapath that outlives it, over a link that can go deaf, with a cluster.json such as `gatepath up` writes: what the drill needs to know of a system. */
export class SplitCluster {
  readonly dataDir: string;
  readonly #stargate: TestProcess;
  readonly #datapath: TestProcess;
  readonly #links: readonly DeafLink[];

  private constructor(dir: string, parts: { stargate: TestProcess; datapath: TestProcess; links: readonly DeafLink[] }) {
    this.dataDir = dir;
    this.#stargate = parts.stargate;
    this.#datapath = parts.datapath;
    this.#links = parts.links;
  }

  /** Between the datapath's sessions and the Stargate. */
  get link(): DeafLink {
    return this.#links[0]!;
  }

  /** `mutant`: in the Stargate. */
  static async start(dir: string, mutant?: URL): Promise<SplitCluster> {
    mkdirSync(dir, { recursive: true });
    const [data, socket, relayed, nbdSocket] = [
      join(dir, 'node'),
      join(dir, 'stargate.sock'),
      join(dir, 'link.sock'),
      join(dir, 'nbd.sock'),
    ];
    const { argv, env } = mutantOf(mutant);
    const configure = async (part: Part, ours: object, command = gatepathArgv): Promise<readonly string[]> => {
      const path = join(dir, `${part}.yaml`);
      writeFileSync(path, stringify({ ...(await example(part)), ...ours }));
      return command(part, '--config', path);
    };
    const command = await configure('stargate', { data, socket }, argv);
    const stargate = TestProcess.start(command, { env });
    const answers = async (): Promise<boolean> => (await runGatepath('status', '--data', data)).code === 0;
    await stargate.waitUntil('the control API', START_TIMEOUT_MS, answers);
    const links = [await DeafLink.open(relayed, socket), await DeafLink.open(`${relayed}.meta`, `${socket}.meta`)];
    const datapath = TestProcess.start(await configure('datapath', { socket: nbdSocket, stargate: relayed, node: 'node-1' }));
    await datapath.waitUntil('the datapath', START_TIMEOUT_MS, async () => (await runGatepath('status', '--data', dir)).code === 0);
    const { node } = JSON.parse(await gatepath('status', '--data', data, '--json')) as { node: { id: string } };
    const nodes = [{ id: node.id, pid: stargate.pid, dataDir: data, address: `unix:${join(data, 'control.sock')}`, command }];
    const file = { version: 1, nodes, etcd: [], datapath: { pid: datapath.pid, nbdSocket }, console: null };
    writeFileSync(join(dir, 'cluster.json'), JSON.stringify(file));
    return new SplitCluster(dir, { stargate, datapath, links });
  }

  /** Ends both; the Stargate may have been started again by the drill. */
  async kill(): Promise<void> {
    await this.#datapath.kill();
    for (const link of this.#links) link.close();
    await this.#stargate.kill();
    const status = await runGatepath('status', '--data', join(this.dataDir, 'node'), '--json');
    if (status.code === 0) process.kill((JSON.parse(status.stdout) as { node: { pid: number } }).node.pid, 'SIGKILL');
  }
}
