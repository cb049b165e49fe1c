import { existsSync, rmSync } from 'node:fs';
import { TestProcess } from './process.js';
import { program } from './programs.js';

/** An NBD server with a life cycle: what crash tests and guests need to know of the product, or of a peer in its place. */
export interface NbdSystem {
  readonly socket: string;
  readonly exportName: string;
  /** Starts, or starts again after a kill. Resolves when clients can connect. */
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** A clean stop. */
  stop(): Promise<void>;
}

/** nbdkit in the product's place: to prove a harness, with a plugin whose behaviour in a crash is known. */
export class NbdkitSystem implements NbdSystem {
  readonly exportName = '';
  #server: TestProcess | undefined;

  constructor(
    readonly socket: string,
    /** Plugin, filters and their parameters. */
    private readonly args: readonly string[],
  ) {}

  async start(): Promise<void> {
    rmSync(this.socket, { force: true });
    const server = TestProcess.start([program('nbdkit'), '-f', '-U', this.socket, ...this.args]);
    this.#server = server;
    await server.waitUntil('nbdkit serves', 10_000, () => existsSync(this.socket));
  }

  async kill(): Promise<void> {
    await this.#server?.kill();
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }
}

/** The address of an export on a Unix socket, as NBD clients read it (doc/uri.md of NetworkBlockDevice/nbd). */
export function nbdUri(socket: string, exportName: string): string {
  return `nbd+unix:///${exportName}?socket=${socket}`;
}
