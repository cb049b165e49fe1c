import type { ClientId, Engine, Gather } from 'uring-engine';
import type { ShardContext } from '../shard/context.js';
import type { PathAttempt, PathListener } from '../transport/path-listener.js';
import type { ShardTransport } from '../transport/shard-transport.js';
import type { StargatePath } from '../wire/path.js';
import type { OpenedSession, SessionEnd, SessionRefusal, SessionRequest, VdiskServing } from '../wire/serving.js';
import { SharedTermFloor } from './floor.js';
import { choosePath, retryDelayMs, type PathTarget } from './paths.js';
import { Session, type SessionPorts } from './session.js';

const NO_ATTEMPT: PathAttempt = { abandon: () => undefined };
const NS_PER_MS = 1e6;

/** What a shard's sessions share. */
export interface SessionParts {
  readonly context: ShardContext;
  readonly transport: ShardTransport;
  readonly targets: readonly PathTarget[];
  /** The Stargate part of this process, if any. */
  readonly serving: VdiskServing | null;
  readonly client: ClientId;
  readonly nothing: Gather;
}

/** A session joined to the shard's transports, timers and log. */
export class ShardSession {
  readonly session: Session;
  /** Why there is no path; empty while there is one. */
  problem = '';
  #attempt: PathAttempt = NO_ATTEMPT;
  #target: PathTarget | null = null;
  #retryEpoch = 0;
  #told = false;
  #stopping = false;

  constructor(
    private readonly parts: SessionParts,
    private readonly identity: SessionRequest,
    private readonly name: string,
    floor: SharedArrayBuffer,
    /** Of this session's timer at the engine. */
    timerTag: number,
  ) {
    const { context, targets } = parts;
    const engine: Engine = context.engine;
    const ports: SessionPorts = {
      openPath: (epoch, failures) => this.#openPath(epoch, failures),
      abandonPath: () => this.#attempt.abandon(),
      startRetry: (epoch, failures) => {
        this.#retryEpoch = epoch;
        engine.timer(retryDelayMs(targets.length, failures) * NS_PER_MS, parts.client, timerTag);
      },
      endSession: () => this.#endSession(),
      nowNs: () => engine.nowNs,
      floor: new SharedTermFloor(floor),
      sessionProbe: context.probes.session,
      pathProbe: context.probes.path,
    };
    this.session = new Session(ports, parts.nothing);
  }

  get pathKind(): StargatePath['kind'] | null {
    const { state } = this.session;
    return state.kind === 'open' ? state.path.kind : null;
  }

  /** The process ends: answers what is left, says nothing to the Stargate. Its next start is another datapath, and ends this session by opening its own. */
  stop(): void {
    this.#stopping = true;
    this.session.detach();
  }

  onTimer(): void {
    this.session.retry(this.#retryEpoch);
  }

  #openPath(epoch: number, failures: number): void {
    const { parts, identity } = this;
    const target = (this.#target = choosePath(parts.targets, failures));
    const listener: PathListener = {
      onOpened: (path, opened) => this.#onOpened(epoch, path, opened),
      onRefused: (reason, message) => this.#onRefused(epoch, reason, message),
      onEnded: (reason, message) => this.#onEnded(epoch, reason, message),
    };
    if (target.kind === 'unix') {
      this.#attempt = parts.transport.unix.open(target.socketPath, identity, listener);
      return;
    }
    const shard = parts.serving?.shardOf(identity.vdiskId) ?? -1;
    if (shard < 0) {
      this.#onRefused(epoch, 'not-served', 'the Stargate of this process does not serve it now');
    } else if (shard === parts.context.index) {
      this.#attempt = NO_ATTEMPT;
      parts.serving!.openSession(identity, {
        onOpened: listener.onOpened,
        onRefused: listener.onRefused,
        onEnded: reason => listener.onEnded(reason, 'its controller ended the session'),
      });
    } else this.#attempt = parts.transport.mailbox.open(shard, identity, listener);
  }

  #onOpened(epoch: number, path: StargatePath, opened: OpenedSession): void {
    const { counters } = this.session;
    const before = counters.replayed;
    this.problem = '';
    this.session.opened(epoch, path, opened.term);
    if (!this.#told || this.session.state.kind !== 'open') return;
    this.#told = false;
    this.#log('info', 'the path to the vdisk is back', { path: path.kind, term: opened.term, replayed: counters.replayed - before });
  }

  #onRefused(epoch: number, reason: SessionRefusal, message: string): void {
    this.#trouble(`${reason}: ${message}`);
    this.session.refused(epoch, reason);
  }

  #onEnded(epoch: number, reason: SessionEnd | 'lost', message: string): void {
    this.#trouble(`${reason}: ${message}`);
    this.session.pathEnded(epoch, reason);
  }

  /** Said once per outage: guests wait meanwhile, and it is tried again many times. */
  #trouble(problem: string): void {
    this.problem = problem;
    if (this.#told) return;
    this.#told = true;
    this.#log('warn', 'no path to the vdisk; its requests wait', { problem });
  }

  #endSession(): void {
    const { parts, identity } = this;
    const done = (): void => undefined;
    if (this.#target === null || this.#stopping) return;
    if (this.#target.kind === 'unix') {
      parts.transport.unix.closeSession(this.#target.socketPath, identity, done);
      return;
    }
    const shard = parts.serving?.shardOf(identity.vdiskId) ?? -1;
    if (shard === parts.context.index) parts.serving!.closeSession(identity, done);
    else if (shard >= 0) parts.transport.mailbox.closeSession(shard, identity, done);
  }

  #log(level: 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>>): void {
    this.parts.context.log.log(level, message, { vdisk: this.name, ...fields });
  }
}
