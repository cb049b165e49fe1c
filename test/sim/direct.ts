import type { VirtualClock } from 'uring-engine/faulty';
import type { PathRequest, StargatePath } from '../../src/wire/path.js';
import type { SessionRequest } from '../../src/wire/serving.js';
import { MAX_MESSAGE_NS } from './limits.js';
import type { Connection, LinkListener } from './link.js';
import type { SimNode } from './node.js';

/** A client in the shard of its controller: calls, no messages; payloads and answers lie where the other side has them. */
export class Direct implements Connection {
  readonly kind = 'same-shard' as const;
  #state: 'opening' | 'open' | 'closed' = 'opening';
  #path: StargatePath | null = null;

  constructor(
    clock: VirtualClock,
    readonly node: SimNode,
    readonly identity: SessionRequest,
    readonly listener: LinkListener,
  ) {
    clock.after(1 + clock.below(MAX_MESSAGE_NS), () => this.#open());
  }

  enter(call: () => void): void {
    if (this.#state === 'open') this.node.turn(call);
    else call();
  }

  submit(request: PathRequest): void {
    this.#path?.submit(request);
  }

  release(request: PathRequest): void {
    this.#path?.release(request);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#path?.close();
  }

  cut(): void {
    if (this.#state === 'closed') return;
    this.node.turn(() => {
      this.close();
      this.listener.onEnded('lost');
    });
  }

  /** There is nothing between them that could hold an answer back. */
  stall(): void {
    this.cut();
  }

  nodeGone(): void {
    this.#path = null;
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.listener.onEnded('lost');
  }

  #open(): void {
    if (this.#state === 'closed') return;
    if (!this.node.isServing) {
      this.#state = 'closed';
      return this.listener.onRefused('not-served', 'it starts');
    }
    this.node.turn(part =>
      part.openSession(this.identity, {
        onOpened: (path, session) => {
          if (this.#state === 'closed') return path.close();
          this.#state = 'open';
          this.#path = path;
          this.listener.onOpened(this, session);
        },
        onRefused: (reason, message) => {
          if (this.#state === 'closed') return;
          this.#state = 'closed';
          this.listener.onRefused(reason, message);
        },
        onEnded: reason => {
          if (this.#state === 'closed') return;
          this.#state = 'closed';
          this.listener.onEnded(reason);
        },
      }),
    );
  }
}
