import { fileURLToPath } from 'node:url';
import type { MessagePort } from 'node:worker_threads';
import { createArena, MAX_ARENA_BYTES } from 'uring-engine';
import { GatepathError } from '../base/errors.js';
import type { EventSink } from '../base/events.js';
import type { Logger } from '../base/log.js';
import { ShardPool, ShardThreads } from '../shard/pool.js';
import type { EngineChoice } from '../shard/run.js';
import { cacheRegionBytes } from '../stargate/cache/cache-region.js';
import { exitAfter } from './exit.js';
import { SAME_SIGNAL_MS, SHARD_MEMORY_BYTES, STOP_TIMEOUT_MS } from './limits.js';
import type { WorkerSettings } from './shard-worker.js';

const WORKER_FILE = fileURLToPath(new URL('./shard-worker.js', import.meta.url));

/** GATEPATH_ENGINE overrides what is configured: for tests and measurements. */
export function engineChoice(configured: EngineChoice = 'auto'): EngineChoice {
  const wanted = process.env['GATEPATH_ENGINE'] ?? configured;
  if (wanted === 'auto' || wanted === 'io_uring' || wanted === 'libuv') return wanted;
  throw new GatepathError('invalid', 'ERR_ENGINE', `GATEPATH_ENGINE is "${wanted}"`, 'set it to auto, io_uring or libuv');
}

/** The rest is for the cache's index: 88 bytes a page at most. */
const CACHE_PART = 0.97;

/** To be called early: they load their code while the process opens its stores. */
export function startThreads(count: number): ShardThreads {
  const threads = new ShardThreads(count, WORKER_FILE);
  exitAfter(threads.loaded);
  return threads;
}

export interface StartShardsOptions {
  readonly threads: ShardThreads;
  readonly cacheBytes: number;
  readonly log: Logger;
  readonly events: EventSink;
  /** Parts that each shard mounts: datapath, transport, Stargate. */
  readonly parts: number;
  /** What NBD's limits need above the defaults, of each shard. */
  readonly nbdBytes?: number;
  readonly settings: () => { settings: WorkerSettings; transfer: readonly MessagePort[] };
  readonly prepare?: (pool: ShardPool) => void;
}

export function startShards(options: StartShardsOptions): Promise<ShardPool> {
  const { threads, cacheBytes, nbdBytes = 0, log, events, parts, settings, prepare } = options;
  const memoryBytes = SHARD_MEMORY_BYTES + nbdBytes;
  const { count } = threads;
  const arenaBytes = count * (cacheRegionBytes(Math.floor(cacheBytes / count)) + memoryBytes);
  if (arenaBytes > MAX_ARENA_BYTES) {
    const most = Math.floor(((MAX_ARENA_BYTES - count * memoryBytes) * CACHE_PART) / 2 ** 20);
    throw new GatepathError('invalid', 'ERR_CACHE_SIZE', `the cache is too large for ${count} shards`, `give at most ${most}M`);
  }
  // From here on Node's own end of a process would wait for ever for shards that are blocked in their rings.
  process.on('uncaughtException', error => endNow(log, `uncaught: ${error.stack ?? error.message}`));
  return ShardPool.start({
    threads,
    arena: createArena(arenaBytes).handle,
    parts,
    settings,
    log,
    events,
    ...(prepare === undefined ? {} : { prepare }),
    onCrash: error => endNow(log, `a shard has crashed: ${error.stack ?? error.message}`),
  });
}

/** The process cannot go on. Whoever supervises it starts it again, and it recovers. */
export function endNow(log: Logger, message: string): void {
  log.log('fatal', message);
  // Not process.exit: that would wait for shards that are blocked in their rings.
  process.kill(process.pid, 'SIGKILL');
}

/**
 * Runs `stop` once on SIGINT or SIGTERM and ends the process; a further signal ends it at once. Not one that comes with the first: terminals and those who
 * start us (npm, timeout) signal us and our group. Returns what does the same without a signal.
 */
export function stopOnSignal(log: Logger, stop: () => Promise<void>, timeoutMs: number = STOP_TIMEOUT_MS): () => void {
  let stoppingSinceMs = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stoppingSinceMs > 0) {
      if (performance.now() - stoppingSinceMs > SAME_SIGNAL_MS) process.kill(process.pid, 'SIGKILL');
      return;
    }
    log.log('info', 'stopping', { signal });
    stopNow();
  };
  const stopNow = (): void => {
    stoppingSinceMs = performance.now();
    const watchdog = setTimeout(() => endNow(log, `could not stop within ${timeoutMs} ms`), timeoutMs);
    stop().then(
      () => {
        clearTimeout(watchdog);
        process.exit(0);
      },
      (error: unknown) => endNow(log, `stopping failed: ${String(error)}`),
    );
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return stopNow;
}

/** What is left of a start, when shards run already: a failure stops them first, since the process could not end otherwise. */
export async function orStop<T>(stop: () => Promise<void>, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    await stop();
    throw error;
  }
}
