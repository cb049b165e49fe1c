import type { EventDraft, EventSink } from '../../base/events.js';
import type { Logger } from '../../base/log.js';
import { MAX_EVENTS, MAX_EVENTS_ANSWERED, MAX_FOLLOWERS, MAX_TEXT, MAX_WAIT_MS } from './limits.js';

export interface RuntimeEvent extends EventDraft {
  /** From 1, without gaps; a process that starts again begins anew. */
  readonly seq: number;
  readonly at: string;
  /** Whose process: a node, or a host's datapath. */
  readonly source: string;
}

export interface EventQuery {
  /** Those behind this one. */
  readonly after: number;
  readonly vdiskId: string | null;
  readonly limit: number;
  /** Waits so long where there is none. */
  readonly waitMs: number;
}

export interface EventPage {
  readonly events: readonly RuntimeEvent[];
  /** Of the last event that was looked at: where to go on. */
  readonly last: number;
}

export interface EventRingOptions {
  readonly source: string;
  readonly log: Logger;
  readonly now?: () => Date;
}

/** The last events of a process. Each goes to the log too. */
export class EventRing implements EventSink {
  readonly #events: RuntimeEvent[] = [];
  readonly #followers = new Set<() => void>();
  #last = 0;

  constructor(readonly options: EventRingOptions) {}

  emit(draft: EventDraft): void {
    const { source, log, now = () => new Date() } = this.options;
    const { cause, action } = draft;
    const short = { cause: cause.slice(0, MAX_TEXT), ...(action === undefined ? {} : { action: action.slice(0, MAX_TEXT) }) };
    const event = { ...draft, ...short, seq: ++this.#last, at: now().toISOString(), source };
    this.#events.push(event);
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
    const { kind, severity, vdiskId, subject, details } = event;
    log.log(severity, short.cause, {
      event: kind,
      ...(vdiskId === null ? {} : { vdiskId }),
      ...(subject === undefined ? {} : { subject }),
      ...details,
    });
    for (const wake of [...this.#followers]) wake();
  }

  /** The oldest first, of those that are kept. A seq of another process's life is taken for none. */
  read({ after, vdiskId, limit }: Pick<EventQuery, 'after' | 'vdiskId' | 'limit'>): EventPage {
    const from = after > this.#last ? 0 : after;
    const fitting = this.#events.filter(one => one.seq > from && (vdiskId === null || one.vdiskId === vdiskId));
    const most = Math.min(limit, MAX_EVENTS_ANSWERED);
    // Who begins wants the newest, who goes on the next ones.
    const events = from === 0 ? fitting.slice(-most) : fitting.slice(0, most);
    const isCut = from > 0 && fitting.length > most;
    return { events, last: isCut ? events.at(-1)!.seq : this.#last };
  }

  async follow(query: EventQuery): Promise<EventPage> {
    const page = this.read(query);
    const endMs = performance.now() + Math.min(query.waitMs, MAX_WAIT_MS);
    while (this.read(query).events.length === 0 && performance.now() < endMs && this.#followers.size < MAX_FOLLOWERS)
      await this.#next(endMs - performance.now());
    return page.events.length > 0 ? page : this.read(query);
  }

  /** The last one of the vdisk that is no mere information; null: there is none. */
  lastProblem(vdiskId: string): RuntimeEvent | null {
    return this.#events.findLast(one => one.vdiskId === vdiskId && one.severity !== 'info') ?? null;
  }

  #next(timeoutMs: number): Promise<void> {
    return new Promise(resolve => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#followers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.max(0, timeoutMs));
      this.#followers.add(wake);
    });
  }
}
