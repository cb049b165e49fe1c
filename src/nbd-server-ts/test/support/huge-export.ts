import type { Export, ExportRequest, ExportSession } from '../../src/export.js';
import { ALL_FEATURES } from './described.js';

const MAX_ASKED = 100;

/** 2^50 bytes of nothing: keeps the ranges that it was asked for, and finishes them in a later call. Commands without data only. */
export class HugeExport implements Export, ExportSession {
  readonly name = 'huge';
  readonly description = '';
  readonly sizeBytes = 2 ** 50;
  readonly readOnly = false;
  readonly features = ALL_FEATURES;
  readonly contexts = ['x-test:one', 'x-test:two'];
  readonly blockSize = { minimumBytes: 1, preferredBytes: 4096, maximumBytes: 32 << 20 };
  readonly asked: [number, number, number][] = [];
  mostAtOnce = 0;
  failFrom = Infinity;
  readonly #waiting: ExportRequest[] = [];

  constructor(private readonly later: (turn: () => void) => void) {}

  open(): ExportSession {
    return this;
  }

  close(): void {}

  submit(request: ExportRequest): void {
    if (this.asked.length < MAX_ASKED) this.asked.push([request.op, request.offsetBytes, request.lengthBytes]);
    if (this.#waiting.length === 0) this.later(() => this.#turn());
    this.#waiting.push(request);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#waiting.length);
  }

  /** The newest first: answers come in any order. */
  #turn(): void {
    for (const request of this.#waiting.splice(0).reverse()) {
      if (request.op === 7) request.addExtent(request.lengthBytes, request.context);
      request.finish(request.offsetBytes >= this.failFrom ? 28 : 0);
    }
  }
}
