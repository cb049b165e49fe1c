import { HEARTBEAT_INTERVAL_MS } from '../wire/limits.js';
import type { SessionRequest } from '../wire/serving.js';
import { Operation, type TableEntry } from './connection-table.js';
import type { StreamTarget } from './dial.js';
import type { PathAttempt, PathListener } from './path-listener.js';
import { UnixPath, type ClientParts, type Purpose } from './unix-path.js';

/** Silence is found out to within one tick; every second one sends a heartbeat. */
const TICKS_PER_HEARTBEAT = 2;
const TICK_NS = (HEARTBEAT_INTERVAL_MS * 1e6) / TICKS_PER_HEARTBEAT;
/** Between two ticks: longer, and this shard itself stood still. */
const STALL_NS = 2 * HEARTBEAT_INTERVAL_MS * 1e6;

const NO_SESSION: SessionRequest = { vdiskId: '', generation: 0, datapathUuid: '', shard: 0 };

/** Opens paths over Unix sockets and TCP for the sessions of one shard, and keeps their heartbeats. */
export class UnixConnector implements TableEntry {
  readonly #paths = new Set<UnixPath>();
  readonly #index: number;
  #ticking = false;
  #ticks = 0;
  #lastTickNs = 0;
  #onIdle: (() => void) | null = null;

  constructor(private readonly parts: ClientParts) {
    this.#index = parts.table.add(this);
  }

  /** A connection for the session; the listener is told, never during this call. */
  open(target: StreamTarget, session: SessionRequest, listener: PathListener): PathAttempt {
    const path = this.#connect(target, 'open', session, listener);
    return { abandon: () => path.close() };
  }

  /** Tells the Stargate that the session is over for good. Best effort. */
  closeSession(target: StreamTarget, session: SessionRequest, done: () => void): void {
    this.#connect(target, 'close', session, { onOpened: path => path.close(), onRefused: done, onEnded: done });
  }

  /** Whether a Stargate answers there: its HELLO, no more. */
  probe(target: StreamTarget, done: (answers: boolean) => void): void {
    this.#connect(target, 'probe', NO_SESSION, {
      onOpened: path => path.close(),
      onRefused: () => done(false),
      onEnded: reason => done(reason === 'closed'),
    });
  }

  /** `done` when the last connection is gone. The sessions close their paths themselves, when their last answers have come. */
  close(done: () => void): void {
    this.#onIdle = done;
    this.#checkIdle();
  }

  #connect(target: StreamTarget, purpose: Purpose, session: SessionRequest, listener: PathListener): UnixPath {
    const path = new UnixPath(this.parts, target, purpose, session, listener, gone => {
      this.#paths.delete(gone);
      this.#checkIdle();
    });
    this.#paths.add(path);
    if (!this.#ticking) this.#arm();
    return path;
  }

  onCompletion(): void {
    const nowNs = this.parts.engine.nowNs;
    const stalled = nowNs - this.#lastTickNs > STALL_NS;
    const beats = ++this.#ticks % TICKS_PER_HEARTBEAT === 0;
    this.#ticking = false;
    for (const path of this.#paths) path.onTick(nowNs, stalled, beats);
    if (this.#paths.size > 0) this.#arm();
  }

  onTurnEnd(): void {
    // Never touched.
  }

  #arm(): void {
    const { engine, table } = this.parts;
    this.#ticking = true;
    this.#lastTickNs = engine.nowNs;
    engine.timer(TICK_NS, table.client, table.tag(this.#index, Operation.timer));
  }

  #checkIdle(): void {
    if (this.#paths.size > 0 || this.#onIdle === null) return;
    const done = this.#onIdle;
    this.#onIdle = null;
    done();
  }
}
