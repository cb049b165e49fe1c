import type { PathRequest } from '../wire/path.js';
import { SESSION_WINDOW } from '../wire/limits.js';

const MASK = SESSION_WINDOW - 1;
if ((SESSION_WINDOW & MASK) !== 0) throw new Error('limits: the window of a session is a power of two');

/** Requests in the order of their submission; a session has at most SESSION_WINDOW. */
export class RequestRing {
  readonly #slots = new Array<PathRequest | null>(SESSION_WINDOW).fill(null);
  #head = 0;
  #tail = 0;

  get length(): number {
    return this.#tail - this.#head;
  }

  push(request: PathRequest): void {
    if (this.length === SESSION_WINDOW) throw new Error(`a path has more than ${SESSION_WINDOW} requests: the session exceeds its window`);
    this.#slots[this.#tail++ & MASK] = request;
  }

  peek(): PathRequest {
    return this.#slots[this.#head & MASK]!;
  }

  shift(): PathRequest {
    const request = this.peek();
    this.#slots[this.#head++ & MASK] = null;
    return request;
  }

  clear(): void {
    while (this.length > 0) this.shift();
  }
}
