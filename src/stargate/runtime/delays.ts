import { MAX_TAG, type ClientId, type Engine } from 'uring-engine';

/** Calls back after a time, for rare things: each delay allocates. */
export class Delays {
  readonly #client: ClientId;
  readonly #waiting = new Map<number, () => void>();
  #nextTag = 0;

  constructor(readonly engine: Engine) {
    this.#client = engine.register({
      onCompletion: tag => {
        const call = this.#waiting.get(tag);
        this.#waiting.delete(tag);
        call?.();
      },
    });
  }

  after(delayNs: number, call: () => void): void {
    const tag = this.#nextTag;
    this.#nextTag = tag === MAX_TAG ? 0 : tag + 1;
    this.#waiting.set(tag, call);
    this.engine.timer(delayNs, this.#client, tag);
  }
}
