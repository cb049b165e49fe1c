import { readlinkSync } from 'node:fs';
import { receiveMessageOnPort } from 'node:worker_threads';
import { attachArena, createEngine, ArenaRegion, type WakeHandle } from 'uring-engine';
import { createShardContext, MAIN, type ShardContext } from './context.js';
import type { MountFailure, ShardTask } from './pool.js';

/** What lives in a shard. */
export interface ShardPart {
  /** Finish what is in flight and let go; `done` is called once. The engine goes on turning meanwhile. */
  close(done: () => void): void;
}

export type EngineChoice = 'auto' | 'io_uring' | 'libuv';

/**
 * Runs one shard from start to stop: makes the engine, exchanges wake handles with the other shards, mounts the parts, turns
 * until the main thread has had every part closed and says stop.
 */
export async function runShard(
  task: ShardTask,
  engineKind: EngineChoice,
  mount: (context: ShardContext) => readonly ShardPart[],
): Promise<void> {
  const arena = attachArena(task.arena);
  const fallbacks: string[] = [];
  const engine = createEngine({ arena, kind: engineKind, onFallback: reason => fallbacks.push(reason) });
  task.ports.main.postMessage({ topic: 'thread', message: ownThreadId() });
  task.ports.main.postMessage({ topic: 'ready', message: engine.wakeHandle });
  // Blocks: from here on the event loop may never run again, so no port may be in the state where only the loop delivers.
  Atomics.wait(new Int32Array(task.startSignal), 0, 0);
  const wakeHandles = (receiveMessageOnPort(task.ports.main)!.message as { message: readonly WakeHandle[] }).message;

  const region = new ArenaRegion(arena).split(task.count)[task.index]!;
  const context = createShardContext({
    index: task.index,
    engine,
    region,
    ports: task.ports,
    mailboxes: task.mailboxes,
    wakeHandles,
    probes: task.probes,
  });
  for (const reason of fallbacks) context.log.log('warn', `I/O engine: ${engine.kind}, because ${reason}`);
  // Whoever asks learns that this thread still turns.
  context.onMessage('ping', message => context.send(MAIN, 'pong', message));
  const parts = mountOrTell(context, mount);
  context.onMessage('close', message => parts[message as number]!.close(() => context.send(MAIN, `closed-${message as number}`, null)));
  context.onMessage('stop', () => engine.stop());
  await engine.run();
  engine.destroy();
}

/** The system's number of this thread; null where /proc does not say. */
function ownThreadId(): number | null {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return null;
  }
}

/** A part that cannot start (its directory is damaged, its socket taken) is no crash: the main thread hears why, and stops the shards. */
function mountOrTell(context: ShardContext, mount: (context: ShardContext) => readonly ShardPart[]): readonly ShardPart[] {
  try {
    const parts = mount(context);
    context.send(MAIN, 'mounted', null);
    return parts;
  } catch (error) {
    const { code = 'ERR_START', message, stack } = error as Error & { code?: string };
    context.send(MAIN, 'mounted', { code, message, stack } satisfies MountFailure);
    return [];
  }
}
