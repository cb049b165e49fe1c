import type { Export, ExportRequest, ExportSession } from '../../src/export.js';

/** An export whose requests finish when, in which order and with which errno the test says. */
export class GatedExport implements Export, ExportSession {
  readonly name: string;
  /** Closed: requests wait. */
  open_ = true;
  /** Requests that touch this offset or lie behind it fail with `failErrno`. */
  failFrom = Infinity;
  failErrno = 5;
  /** Copies payloads at once and says so, as a log does. */
  takesPayload = false;
  sessionsOpen = 0;
  readonly waiting: ExportRequest[] = [];
  readonly #inner: ExportSession;

  constructor(
    private readonly data: Export,
    name = data.name,
  ) {
    this.name = name;
    this.#inner = data.open();
  }

  get description(): string {
    return this.data.description;
  }
  get sizeBytes(): number {
    return this.data.sizeBytes;
  }
  get readOnly(): boolean {
    return this.data.readOnly;
  }
  get features(): Export['features'] {
    return this.data.features;
  }
  get blockSize(): Export['blockSize'] {
    return this.data.blockSize;
  }

  open(): ExportSession {
    this.sessionsOpen++;
    return this;
  }

  close(): void {
    this.sessionsOpen--;
  }

  submit(request: ExportRequest): void {
    if (this.open_) this.#carryOut(request);
    else this.waiting.push(request);
  }

  /** Lets `count` waiting requests go, the oldest or the newest first. */
  let(count: number, newestFirst: boolean): void {
    for (let i = 0; i < count && this.waiting.length > 0; i++) this.#carryOut(newestFirst ? this.waiting.pop()! : this.waiting.shift()!);
  }

  #carryOut(request: ExportRequest): void {
    if (request.offsetBytes + request.lengthBytes > this.failFrom) request.finish(this.failErrno);
    else this.#inner.submit(request);
  }
}
