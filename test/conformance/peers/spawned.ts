import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestProcess } from '../../support/process.js';
import { waitFor } from '../../support/wait.js';
import type { Endpoint, EndpointKind, Peer } from '../peer.js';
import { Certificates } from '../../../src/nbd-server-ts/test/support/certificates.js';

const START_MS = 10_000;

/** A server's command line for one kind of endpoint. */
export interface Launch {
  readonly argv: readonly string[];
  readonly endpoint: Endpoint;
  /** Of a server that goes on in the background: where it writes its process id. */
  readonly pidFile?: string;
}

/** A peer whose endpoints are processes of their own, begun when they are asked for. */
export abstract class SpawnedPeer implements Peer {
  abstract readonly name: string;
  readonly directory = mkdtempSync(join(tmpdir(), 'nbd-peer-'));
  #certificates: Certificates | null = null;
  readonly #children: TestProcess[] = [];
  readonly #endpoints = new Map<EndpointKind, Promise<Endpoint | null>>();
  readonly #background: number[] = [];
  #plainPid = 0;

  /** Null: this server has nothing of the kind. */
  protected abstract launch(kind: EndpointKind): Launch | null | Promise<Launch | null>;

  protected get certificates(): Certificates {
    if (this.#certificates === null) {
      mkdirSync(this.path('pki'), { recursive: true });
      this.#certificates = Certificates.make(this.path('pki'));
    }
    return this.#certificates;
  }

  protected path(name: string): string {
    return join(this.directory, name);
  }

  endpoint(kind: EndpointKind): Promise<Endpoint | null> {
    let endpoint = this.#endpoints.get(kind);
    if (endpoint === undefined) this.#endpoints.set(kind, (endpoint = this.#start(kind)));
    return endpoint;
  }

  async #start(kind: EndpointKind): Promise<Endpoint | null> {
    const launch = await this.launch(kind);
    if (launch === null) return null;
    const child = TestProcess.start(launch.argv);
    this.#children.push(child);
    const serves = (): Promise<boolean> => reachable(launch.endpoint.target);
    let { pid } = child;
    if (launch.pidFile === undefined) await child.waitUntil('it serves', START_MS, serves);
    else {
      await child.exited;
      await waitFor('it serves', START_MS, serves);
      pid = Number(readFileSync(launch.pidFile, 'utf8'));
      this.#background.push(pid);
    }
    if (kind === 'plain') this.#plainPid = pid;
    return launch.endpoint;
  }

  residentBytes(): number {
    return this.#plainPid === 0 ? 0 : treeBytes(this.#plainPid);
  }

  async stop(): Promise<void> {
    for (const child of this.#children) await child.kill();
    for (const pid of this.#background) process.kill(pid, 'SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function reachable(target: Endpoint['target']): Promise<boolean> {
  if (typeof target === 'string' && !existsSync(target)) return Promise.resolve(false);
  return new Promise(resolve => {
    const socket = connect(typeof target === 'string' ? { path: target } : target);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Resident memory of a process and its children that is not of files. */
function treeBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const own = Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return own + (children === '' ? 0 : children.split(' ').reduce((sum, child) => sum + treeBytes(Number(child)), 0));
  } catch {
    return 0;
  }
}

/** A port that nobody listens on at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
