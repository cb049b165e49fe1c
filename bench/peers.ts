import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { commandOf, GatepathUp, type GatepathUpOptions } from '../test/support/gatepath.js';
import { TestProcess } from '../test/support/process.js';
import { program } from '../test/support/programs.js';

/** A server under measurement. Several run at once, idle, while one is measured. */
export interface Peer {
  readonly name: string;
  /** Ours is what the ratios are of. */
  readonly ours: boolean;
  readonly socket: string;
  readonly exportName: string;
  readonly pid: number;
  /** Whose CPU is told apart, where a request crosses several processes. */
  readonly hops?: readonly Hop[];
  stop(): Promise<void>;
}

export interface Hop {
  readonly name: string;
  readonly pids: readonly number[];
}

export interface PeerContext {
  /** An own directory of this peer, on the measured disk. */
  readonly dir: string;
  readonly sizeBytes: number;
  /** Before the command: taskset for pinned runs. */
  readonly prefix: readonly string[];
}

export type PeerFactory = { readonly name: string; readonly start: (context: PeerContext) => Promise<Peer> };

const SHORT_STOP_MS = 10_000;

/** Gatepath with everything in one process; `engine` by GATEPATH_ENGINE. */
export function gatepathPeer(engine: 'uring' | 'libuv', nodeArgs: readonly string[] = []): PeerFactory {
  return gatepathUp(engine === 'uring' ? 'gatepath' : 'gatepath (libuv)', true, engine, { nodeArgs });
}

/** The same of another checkout, which is built: what this one is compared with. */
export function checkoutPeer(checkout: string, engine: 'uring' | 'libuv'): PeerFactory {
  const directory = resolve(checkout);
  const command = commandOf(directory);
  if (!existsSync(command)) throw new Error(`${directory}: no dist: run npm ci and npm run build there first`);
  const git = spawnSync('git', ['-C', directory, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' });
  return gatepathUp(`gatepath ${git.status === 0 ? git.stdout.trim() : directory}`, false, engine, { command });
}

type Started = Pick<GatepathUpOptions, 'command' | 'nodeArgs'>;

function gatepathUp(name: string, ours: boolean, engine: 'uring' | 'libuv', started: Started): PeerFactory {
  return {
    name,
    start: async ({ dir, sizeBytes, prefix }) => {
      const env = engine === 'uring' ? {} : { GATEPATH_ENGINE: engine };
      const up = new GatepathUp({ dataDir: join(dir, 'data'), vdisk: 'bench', size: String(sizeBytes), prefix, env, ...started });
      await up.start();
      return { name, ours, socket: up.socket, exportName: up.exportName, pid: up.process.pid, stop: () => up.stop() };
    },
  };
}

/** Any server in Gatepath's place: a shell command in which {socket}, {dir} and {size} are replaced. */
export function commandPeer(command: string): PeerFactory {
  return {
    name: 'ours (command)',
    start: context =>
      startServer('ours (command)', true, context, (socket, dir) => {
        const text = command.replaceAll('{socket}', socket).replaceAll('{dir}', dir).replaceAll('{size}', String(context.sizeBytes));
        return ['sh', '-c', `exec ${text}`];
      }),
  };
}

export function nbdkitMemory(threads?: number): PeerFactory {
  const name = threads === undefined ? 'nbdkit memory' : `nbdkit memory -t ${threads}`;
  return {
    name,
    start: context => startServer(name, false, context, socket => nbdkitArgv(socket, threads, ['memory', String(context.sizeBytes)])),
  };
}

export function nbdkitFile(threads?: number): PeerFactory {
  const name = threads === undefined ? 'nbdkit file' : `nbdkit file -t ${threads}`;
  return {
    name,
    start: async context => {
      const image = join(context.dir, 'image');
      const truncate = TestProcess.start(['truncate', '-s', String(context.sizeBytes), image]);
      await truncate.exited;
      return startServer(name, false, context, socket => nbdkitArgv(socket, threads, ['file', image]));
    },
  };
}

function nbdkitArgv(socket: string, threads: number | undefined, plugin: readonly string[]): readonly string[] {
  const own = threads === undefined ? [] : ['-t', String(threads)];
  return [program('nbdkit'), '-f', '-U', socket, ...own, ...plugin];
}

async function startServer(
  name: string,
  ours: boolean,
  context: PeerContext,
  argv: (socket: string, dir: string) => readonly string[],
): Promise<Peer> {
  mkdirSync(context.dir, { recursive: true });
  const socket = join(context.dir, 's');
  const server = TestProcess.start([...context.prefix, ...argv(socket, context.dir)]);
  await server.waitUntil(`${name} serves`, 30_000, () => existsSync(socket));
  const stop = async (): Promise<void> => void (await server.stop(SHORT_STOP_MS));
  return { name, ours, socket, exportName: '', pid: server.pid, stop };
}
