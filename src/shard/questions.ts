/** The shards of a process, as its main thread reaches them; ShardPool is one. */
export interface AskedShards {
  readonly count: number;
  send(shard: number, topic: string, message: unknown): void;
  on(topic: string, listener: (message: unknown, shard: number) => void): void;
}

/** Asks all shards for the same, and waits for what they say. */
export class ShardQuestions<T extends { readonly request: number }> {
  readonly #waiting = new Map<number, (answer: T, shard: number) => void>();
  #last = 0;

  constructor(
    readonly shards: AskedShards,
    readonly topic: string,
    replyTopic: string,
    readonly timeoutMs: number,
  ) {
    shards.on(replyTopic, (message, shard) => this.#waiting.get((message as T).request)?.(message as T, shard));
  }

  /** In the shards' order; those that do not answer in time are left out. `about`: what the question says beside its number. */
  async ask(about: object = {}): Promise<{ readonly shard: number; readonly answer: T }[]> {
    const { shards } = this;
    const request = ++this.#last;
    const answers: { shard: number; answer: T }[] = [];
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, this.timeoutMs);
      this.#waiting.set(request, (answer, shard) => {
        if (answers.push({ shard, answer }) < shards.count) return;
        clearTimeout(timer);
        resolve();
      });
      for (let shard = 0; shard < shards.count; shard++) shards.send(shard, this.topic, { ...about, request });
    });
    this.#waiting.delete(request);
    return answers.sort((a, b) => a.shard - b.shard);
  }
}
