import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { check, TestProcess } from './process.js';
import { program } from './programs.js';
import { makeTempDir, removeTempDir } from './temp.js';

/** What tests with a real etcd need: `describe.skipIf(missingPrograms(...ETCD_PROGRAMS).length > 0)`. */
export const ETCD_PROGRAMS = ['etcd', 'etcdctl'] as const;

/** Short, so that a killed leader costs a test less: on loopback nothing is slow but the machine. */
const HEARTBEAT_MS = 50;
const ELECTION_MS = 500;
const START_TIMEOUT_MS = 40_000;
/** Another program may take a port between the kernel's choice and etcd. */
const START_ATTEMPTS = 3;

export interface EtcdTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface EtcdClusterOptions {
  readonly members?: number;
  /** Files. Clients then have to show a certificate of the same authority. */
  readonly tls?: EtcdTls;
  readonly args?: readonly string[];
}

export interface EtcdMember {
  readonly name: string;
  readonly url: string;
  readonly argv: readonly string[];
  process: TestProcess;
}

/** A real etcd cluster of one or more members, each with its directory, on ports of the kernel's choice. */
export class EtcdCluster {
  private constructor(
    readonly directory: string,
    readonly members: readonly EtcdMember[],
    private readonly tls: EtcdTls | undefined,
  ) {}

  static async start(options: EtcdClusterOptions = {}): Promise<EtcdCluster> {
    for (let attempt = 1; ; attempt++) {
      const cluster = await EtcdCluster.#launch(options);
      try {
        await cluster.ready();
        return cluster;
      } catch (error) {
        const collided = cluster.members.some(member => member.process.output.includes('address already in use'));
        await cluster.stop();
        if (!collided || attempt === START_ATTEMPTS) throw error;
      }
    }
  }

  static async #launch({ members: count = 1, tls, args = [] }: EtcdClusterOptions): Promise<EtcdCluster> {
    const directory = makeTempDir('etcd');
    const ports = await freePorts(2 * count);
    const scheme = tls === undefined ? 'http' : 'https';
    const name = (i: number): string => `m${i}`;
    const peer = (i: number): string => `http://127.0.0.1:${ports[2 * i + 1]!}`;
    const initial = Array.from({ length: count }, (_, i) => `${name(i)}=${peer(i)}`).join(',');
    const members = Array.from({ length: count }, (_, i) => {
      const url = `${scheme}://127.0.0.1:${ports[2 * i]!}`;
      const argv = [
        program('etcd'),
        ...['--name', name(i), '--data-dir', join(directory, name(i)), '--logger', 'zap', '--log-level', 'warn'],
        ...['--listen-client-urls', url, '--advertise-client-urls', url],
        ...['--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i)],
        ...['--initial-cluster', initial, '--initial-cluster-token', directory],
        ...['--heartbeat-interval', String(HEARTBEAT_MS), '--election-timeout', String(ELECTION_MS)],
        ...(tls === undefined ? [] : ['--cert-file', tls.cert, '--key-file', tls.key, '--trusted-ca-file', tls.ca, '--client-cert-auth']),
        ...args,
      ];
      return { name: name(i), url, argv, process: TestProcess.start(argv) };
    });
    return new EtcdCluster(directory, members, tls);
  }

  get urls(): string[] {
    return this.members.map(member => member.url);
  }

  /** Until each member that runs answers a linearizable read. */
  async ready(): Promise<void> {
    await Promise.all(
      this.members
        .filter(member => member.process.isRunning)
        .map(member =>
          member.process.waitUntil('etcd answers', START_TIMEOUT_MS, async () => {
            const health = this.ctl(['endpoint', 'health', '--command-timeout=2s'], [member.url]);
            return health.then(
              () => true,
              () => false,
            );
          }),
        ),
    );
  }

  /** Runs etcdctl; gives its stdout. */
  ctl(args: readonly string[], urls: readonly string[] = this.urls): Promise<string> {
    const { tls } = this;
    const files = tls === undefined ? [] : ['--cacert', tls.ca, '--cert', tls.cert, '--key', tls.key];
    return check([program('etcdctl'), '--endpoints', urls.join(','), ...files, ...args], { env: { ETCDCTL_API: '3' } });
  }

  /** Asks only members that run. */
  async leader(): Promise<EtcdMember> {
    const running = this.members.filter(member => member.process.isRunning);
    const text = await this.ctl(
      ['endpoint', 'status', '-w', 'json'],
      running.map(member => member.url),
    );
    const found = (JSON.parse(text) as { Endpoint: string; Status: { leader: number; header: { member_id: number } } }[]).find(
      ({ Status }) => Status.leader === Status.header.member_id,
    );
    const leader = this.members.find(member => member.url === found?.Endpoint);
    if (leader === undefined) throw new Error(`no leader: ${text}`);
    return leader;
  }

  /** With its data, after a kill. */
  restart(member: EtcdMember): void {
    member.process = TestProcess.start(member.argv);
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.members.map(async member => {
        member.process.signal('SIGCONT');
        await member.process.kill();
      }),
    );
    removeTempDir(this.directory);
  }
}

/** Ports that nobody listens on now, all different. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const listening = servers.map(server => new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve)));
  await Promise.all(listening);
  const ports = servers.map(server => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))));
  return ports;
}
