import type { ShardPool } from '../shard/pool.js';

/** Asks all shards of a pool for the same, and waits for what they say. */
export class ShardQuestions<T extends { readonly request: number }> {
  readonly #waiting = new Map<number, (answer: T, shard: number) => void>();
  #last = 0;

  constructor(
    readonly pool: ShardPool,
    readonly topic: string,
    replyTopic: string,
    readonly timeoutMs: number,
  ) {
    pool.on(replyTopic, (message, shard) => this.#waiting.get((message as T).request)?.(message as T, shard));
  }

  /** In the shards' order; those that do not answer in time are left out. */
  async ask(): Promise<{ readonly shard: number; readonly answer: T }[]> {
    const { pool } = this;
    const request = ++this.#last;
    const answers: { shard: number; answer: T }[] = [];
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, this.timeoutMs);
      this.#waiting.set(request, (answer, shard) => {
        if (answers.push({ shard, answer }) < pool.count) return;
        clearTimeout(timer);
        resolve();
      });
      pool.broadcast(this.topic, { request });
    });
    this.#waiting.delete(request);
    return answers.sort((a, b) => a.shard - b.shard);
  }
}
