import type { Logger } from '../../base/log.js';
import { ShardQuestions, type AskedShards } from '../../shard/questions.js';
import type { ServiceManager } from './manager.js';

/** Signs of life in the time in which one has to come. */
const PER_PERIOD = 3;

/**
 * Gives the service manager signs of life, where it asks for them, as long as this thread runs and every shard answers. A shard that hangs lets all its vdisks hang; the
 * service manager then kills the process and starts it again, and it recovers. One that waits for a slow disk answers: it waits in its ring, where it hears us.
 */
export class Watchdog {
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly shards: AskedShards,
    private readonly manager: Pick<ServiceManager, 'watchdogMs' | 'alive'>,
    private readonly log: Logger,
  ) {}

  start(): void {
    const { watchdogMs } = this.manager;
    if (watchdogMs === null) return;
    const beatMs = watchdogMs / PER_PERIOD;
    const questions = new ShardQuestions<{ request: number }>(this.shards, 'ping', 'pong', beatMs);
    const beat = async (): Promise<void> => {
      const startedMs = performance.now();
      const answers = await questions.ask();
      if (this.#stopped) return;
      this.#judge(new Set(answers.map(({ shard }) => shard)), beatMs);
      this.#timer = setTimeout(() => void beat(), Math.max(0, beatMs - (performance.now() - startedMs)));
    };
    void beat();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #judge(alive: ReadonlySet<number>, beatMs: number): void {
    if (alive.size === this.shards.count) return this.manager.alive();
    const silent = Array.from({ length: this.shards.count }, (_, shard) => shard).filter(shard => !alive.has(shard));
    this.log.log('error', 'shards do not answer: the service manager gets no sign of life', {
      shards: silent,
      withinMs: Math.round(beatMs),
    });
  }
}
