import type { ClientId, Gather, TimerId } from 'uring-engine';
import type { EventDraft, EventKind, EventSeverity } from '../base/events.js';
import { createSessionProbes, SESSION_PROBES_BYTES, type SessionProbes } from '../base/probe.js';
import { MAIN, type ShardContext } from '../shard/context.js';
import { inWords } from '../meta/quarantine.js';
import type { PathListener, PathLoss } from '../transport/path-listener.js';
import type { ShardTransport } from '../transport/shard-transport.js';
import { SUSPECT_AFTER_MS } from '../wire/limits.js';
import { Blocker, IoOp, type StargatePath } from '../wire/path.js';
import type { OpenedSession, SessionEnd, SessionRefusal, SessionRequest, VdiskServing } from '../wire/serving.js';
import { Failback } from './failback.js';
import { SharedTermFloor } from './floor.js';
import { CUT_OFF_AFTER_MS, STUCK_HOLD_FIRST_MS, STUCK_HOLD_LAST_MS } from './limits.js';
import { DatapathTopic, type Accusation, type SessionProbesOpened } from './messages.js';
import type { NodeTable } from './nodes.js';
import { closeSessionAt, openPathAt } from './path-open.js';
import { PathSearch } from './path-search.js';
import { addressOf, backOffMs, isShunned, type Candidate, type HealthTable } from './paths.js';
import type { SessionRequest as SessionIo } from './session-request.js';
import { Session } from './session.js';

const NS_PER_MS = 1e6;

/** What a shard's sessions share. */
export interface SessionParts {
  readonly context: ShardContext;
  readonly transport: ShardTransport;
  readonly nodes: NodeTable;
  readonly health: HealthTable;
  /** The Stargate part of this process, if any. */
  readonly serving: VdiskServing | null;
  readonly client: ClientId;
  readonly nothing: Gather;
  /** null: what is served elsewhere stays there. */
  readonly failbackAfterMs: number | null;
  /** A request that has waited for so long is answered with EIO; null or absent: it waits as long as it takes. */
  readonly ioTimeoutMs?: number | null;
}

/** Code of a session that was ended by another attachment. */
const SUPERSEDED = 'ERR_SUPERSEDED';

/** Code of a session whose vdisk is quarantined. */
const QUARANTINED = 'ERR_QUARANTINED';
const OP_NAMES = new Map<IoOp, string>(Object.entries(IoOp).map(([name, op]) => [op, name]));

/** Timers of one session at the engine. */
const Timer = { retry: 0, search: 1 } as const;
export const TIMERS_PER_SESSION = 2;

/** A session joined to the shard's transports, timers and log: finds its node, and leaves it when another one is better. */
export class ShardSession {
  readonly session: Session;
  /** Why there is no path; empty while there is one. */
  problem = '';
  /** Since when the state is what it is, by the engine's clock. */
  #sinceNs: number;
  readonly #search: PathSearch;
  readonly #failback: Failback;
  readonly #abandon = new Map<number, () => void>();
  readonly #timers: (TimerId | null)[] = [null, null];
  #epoch = 0;
  #retryEpoch = 0;
  /** The path that is open: its number in the search, and where. 0: none. */
  #pathId = 0;
  #at: Candidate | null = null;
  #term = 0;
  readonly #floor: SharedTermFloor;
  /** Where the last two controllers were that have hung up. */
  #hungUpAt: readonly string[] = [];
  /** The node that was lost last. */
  #left: string | null = null;
  #stuckHoldMs = STUCK_HOLD_FIRST_MS;
  #notStuckBeforeNs = 0;
  #told = false;
  /** Told when the session is open as the holder's; null: nobody waits for that. */
  #activated: (() => void) | null = null;
  #stopping = false;

  constructor(
    private readonly parts: SessionParts,
    readonly identity: SessionRequest,
    private readonly name: string,
    floor: SharedArrayBuffer,
    /** Of the first of this session's timers at the engine; they follow each other. */
    private readonly firstTag: number,
    /** The attachment is not activated yet (rule 18). */
    private isShared = false,
  ) {
    const { engine } = parts.context;
    this.#sinceNs = engine.nowNs;
    this.#floor = new SharedTermFloor(floor);
    this.#search = new PathSearch(
      {
        ask: (id, candidate) => this.#ask(id, candidate),
        abandon: id => this.#forget(id)?.(),
        startTimer: delayMs => this.#startTimer(Timer.search, delayMs),
        nowNs: () => engine.nowNs,
      },
      parts.health,
    );
    this.#failback = new Failback(parts.failbackAfterMs);
    this.session = new Session(
      {
        openPath: epoch => {
          this.#epoch = epoch;
          this.#search.start();
        },
        abandonPath: () => this.#search.stop(),
        startRetry: (epoch, failures) => this.#startRetry(epoch, failures),
        endSession: () => this.#endSession(),
        nowNs: () => engine.nowNs,
        floor: this.#floor,
        accuse: (request, terms) => this.#accuse(request, terms),
        openProbes: () => this.#openProbes(),
      },
      parts.nothing,
    );
    this.nodesChanged();
  }

  get path(): StargatePath | null {
    const { state } = this.session;
    return state.kind === 'open' ? state.path : null;
  }

  /** The vdisk is quarantined, or it is not known yet whether it is. */
  get isHeld(): boolean {
    return this.#floor.isHeld();
  }

  /** Where the path leads, and the term of the controller there; while there is none, where it led last. */
  get node(): string | null {
    return this.#where?.node ?? null;
  }

  /** Opened before the metadata told of nodes, it has another name now. */
  get #where(): Candidate | null {
    const at = this.#at;
    if (at === null) return null;
    return this.#search.candidates.find(({ target }) => addressOf(target) === addressOf(at.target)) ?? at;
  }

  /** Since when the state is what it is: for people. */
  get since(): Date {
    return new Date(new Date().getTime() - (this.parts.context.engine.nowNs - this.#sinceNs) / NS_PER_MS);
  }

  get term(): number {
    return this.#term;
  }

  /** The nodes or the vdisk's group are others than before. */
  nodesChanged(): void {
    const { nodes } = this.parts;
    const { vdiskId } = this.identity;
    const group = nodes.groupOf(vdiskId);
    this.#search.setCandidates(nodes.candidatesOf(vdiskId), group?.controller ?? null, group?.epoch ?? -1);
    if (this.#pathId !== 0) this.#failback.canReturn(this.#localMember() !== null, this.parts.context.engine.nowNs);
  }

  /**
   * The attachment is to hold the vdisk from now on (rule 18): what is open as shared is opened again. `done`: it is, or nothing is open here, and need not be.
   * Never called where another attachment has been faster.
   */
  activate(mustOpen: boolean, done: () => void): void {
    this.isShared = false;
    const { kind } = this.session.state;
    if (kind === 'closed') return;
    if (this.#epoch === 0 && !mustOpen) return done();
    this.#activated = done;
    this.session.start();
    if (kind === 'open') this.#openAgain();
  }

  /** At the same node: it has done nothing wrong. What is unanswered is sent again. */
  #openAgain(): void {
    this.#pathGone('fenced', this.node!);
    this.session.leave();
  }

  /** Nothing is outstanding: lets its path go, until it is used again, here or by another process. */
  rest(): void {
    this.#pathId = 0;
    this.problem = '';
    this.session.rest();
  }

  /** The process ends: answers what is left, says nothing to the Stargate. Its next start is another datapath, and ends this session by opening its own. */
  stop(): void {
    this.#stopping = true;
    this.session.detach();
  }

  onTimer(timer: number): void {
    this.#timers[timer] = null;
    if (timer === Timer.search) this.#search.onTimer();
    else this.session.retry(this.#retryEpoch);
  }

  /** Every WATCH_INTERVAL_MS while the path leaves the process. `localWellSinceNs`: the Stargate of this machine answers since then; null: it does not. */
  onWatch(nowNs: number, localWellSinceNs: number | null): void {
    const { ioTimeoutMs = null } = this.parts;
    if (ioTimeoutMs !== null) this.#giveUp(nowNs - ioTimeoutMs * NS_PER_MS);
    const { path } = this;
    if (path === null) return;
    if (this.isHeld) {
      this.#pathGone('fenced');
      this.session.leave();
    } else if (this.#isStuck(path, nowNs)) {
      this.#trouble(`node "${this.node}" is held up by ${path.blockedBy?.() === Blocker.itself ? 'its own disk' : 'other members'}`);
      this.#pathGone('lost');
      this.session.leave();
    } else if (!this.isShared && this.#failback.tick(nowNs, localWellSinceNs)) {
      const local = this.#localMember();
      if (local === null) return;
      this.#log('info', 'asking for the vdisk to come back to the local node', { from: this.node, to: local.node });
      path.handover?.(local.node);
    }
  }

  #giveUp(arrivedNs: number): void {
    const { counters } = this.session;
    const { path } = this;
    const before = counters.givenUp;
    if (path !== null && this.session.oldestNs < arrivedNs) this.#pathGone('lost');
    this.session.giveUpBefore(arrivedNs);
    if (counters.givenUp > before)
      this.#log('warn', 'requests have waited for longer than ioTimeoutMs; they get EIO', { requests: counters.givenUp - before });
  }

  /** It matters whether the local Stargate is well. */
  get wantsLocal(): boolean {
    // Where the vdisk is best served is for the one that holds it to say.
    return this.path !== null && !this.isShared && this.#failback.wantsToKnow;
  }

  // ---------------------------------------------------------------- to and from paths

  #ask(id: number, candidate: Candidate): void {
    const { parts, identity } = this;
    const left = this.#left;
    const wasLeft = left !== null && left !== candidate.node && isShunned(parts.health.of(left), parts.context.engine.nowNs);
    const { isShared } = this;
    const listener: PathListener = {
      onOpened: (path, opened) => this.#onOpened(id, path, opened, isShared),
      onRefused: (reason, message, node) => this.#onRefused(id, candidate, reason, message, node),
      onEnded: (reason, message, node) => this.#onEnded(id, candidate, reason, message, node),
    };
    // Kept before it is asked: it may answer at once.
    this.#abandon.set(id, () => undefined);
    const attempt = openPathAt(
      parts,
      candidate.target,
      { ...identity, ...(wasLeft && { left }), ...(isShared && { shared: true }) },
      listener,
    );
    if (this.#abandon.has(id)) this.#abandon.set(id, () => attempt.abandon());
  }

  #forget(id: number): (() => void) | undefined {
    const abandon = this.#abandon.get(id);
    this.#abandon.delete(id);
    return abandon;
  }

  #onOpened(id: number, path: StargatePath, opened: OpenedSession, asShared: boolean): void {
    this.#forget(id);
    const candidate = this.#search.opened(id);
    if (candidate === null) {
      path.close();
      return;
    }
    const { counters } = this.session;
    const before = counters.replayed;
    this.#pathId = id;
    this.#at = candidate;
    this.#term = opened.term;
    this.problem = '';
    this.#stateChanged();
    this.session.opened(this.#epoch, path, opened.term);
    if (this.session.state.kind !== 'open') return;
    if (asShared && !this.isShared) return this.#openAgain();
    this.#activated?.();
    this.#activated = null;
    this.#failback.opened(candidate.isLocal, this.#localMember() !== null, this.parts.context.engine.nowNs);
    if (!this.#told) return;
    this.#told = false;
    const { node } = candidate;
    this.#emit('path-opened', 'info', `the path to vdisk "${this.name}" is back, to node "${node}"`, {
      ...{ node, path: path.kind, term: opened.term },
      replayed: counters.replayed - before,
    });
  }

  #onRefused(id: number, candidate: Candidate, reason: SessionRefusal, message: string, node?: string): void {
    this.#forget(id);
    if (reason === 'closed') this.#superseded(candidate);
    else this.#trouble(`${candidate.node}: ${reason}: ${message}`, reason === 'moved');
    if (reason === 'closed' && this.#search.isSearching) {
      this.#search.stop();
      this.session.refused(this.#epoch, 'closed');
    } else this.#search.refused(id, node);
  }

  #onEnded(id: number, candidate: Candidate, reason: SessionEnd | PathLoss, message: string, node?: string): void {
    this.#forget(id);
    const isLost = reason === 'lost' || reason === 'hung-up';
    if (reason === 'closed') this.#superseded(candidate);
    else this.#trouble(`${candidate.node}: ${reason}: ${message}`, reason === 'fenced' && node !== undefined);
    if (id === this.#pathId) {
      if (reason === 'hung-up') this.#hungUpAt = [...this.#hungUpAt.slice(-1), this.node!];
      if (reason !== 'closed') this.#pathGone(isLost ? 'lost' : 'fenced', node);
      this.session.pathEnded(this.#epoch, reason);
    } else if (isLost) this.#search.lost(id);
    else this.#onRefused(id, candidate, reason === 'closed' ? 'closed' : 'not-served', message, node);
  }

  /** To be called before the session is told. */
  #pathGone(how: 'lost' | 'fenced', hint?: string): void {
    if (this.#pathId === 0) return;
    this.#pathId = 0;
    this.#search.pathGone(this.#where!, how, hint);
    if (how === 'lost') this.#left = this.node;
  }

  /** The main thread writes it into the group's record; until then, and from then on, this datapath asks no controller of the vdisk. */
  #accuse(accused: readonly SessionIo[], terms: readonly [number, number]): void {
    const { vdiskId, generation } = this.identity;
    const requests = accused.map(({ op, offsetBytes, lengthBytes }) => ({ op: OP_NAMES.get(op)!, offsetBytes, lengthBytes }));
    const nodes = this.#hungUpAt;
    this.parts.context.send(MAIN, DatapathTopic.accused, { vdiskId, generation, requests, nodes, terms } satisfies Accusation);
    const request = requests[0]!;
    const cause = `vdisk "${this.name}" is quarantined: ${nodes.join(' and ')} died, one after the other, while they had ${inWords(requests)}; its requests wait`;
    const action = `find out why they died (their logs say it), then: gatepath vdisk release ${this.name}`;
    this.#emit(
      'vdisk-quarantined',
      'error',
      cause,
      { code: QUARANTINED, accused: requests.length, ...request, nodes: nodes.join(', '), terms: terms.join(', ') },
      action,
    );
  }

  /** In memory that the main thread reads. A vdisk that nobody uses has none. */
  #openProbes(): SessionProbes {
    const { vdiskId, generation } = this.identity;
    const memory = new SharedArrayBuffer(SESSION_PROBES_BYTES);
    this.parts.context.send(MAIN, DatapathTopic.probes, { vdiskId, generation, memory } satisfies SessionProbesOpened);
    return createSessionProbes(memory);
  }

  #startRetry(epoch: number, failures: number): void {
    // The session itself has found out that the controller's term has passed.
    this.#pathGone('fenced');
    this.#retryEpoch = epoch;
    this.#stateChanged();
    this.#startTimer(Timer.retry, backOffMs(failures));
  }

  #startTimer(timer: number, delayMs: number): void {
    const { engine } = this.parts.context;
    const before = this.#timers[timer];
    if (before != null) engine.cancelTimer(before);
    this.#timers[timer] = engine.timer(delayMs * NS_PER_MS, this.parts.client, this.firstTag + timer);
  }

  // ---------------------------------------------------------------- leaving what could be better

  /** Another member could serve it. While the same node stays the controller, it is left more and more seldom. */
  #isStuck(path: StargatePath, nowNs: number): boolean {
    const blocker = path.blockedBy?.() ?? Blocker.unknown;
    if (blocker !== Blocker.itself && blocker !== Blocker.member) return false;
    const patienceMs = blocker === Blocker.itself ? SUSPECT_AFTER_MS : CUT_OFF_AFTER_MS;
    const isHeldUp = (path.oldestAgeUs?.() ?? 0) > patienceMs * 1_000;
    if (!isHeldUp || nowNs < this.#notStuckBeforeNs) return false;
    if (!this.#search.candidates.some(({ isMember, node }) => isMember && node !== this.node)) return false;
    this.#notStuckBeforeNs = nowNs + this.#stuckHoldMs * NS_PER_MS;
    this.#stuckHoldMs = Math.min(STUCK_HOLD_LAST_MS, 2 * this.#stuckHoldMs);
    return true;
  }

  #localMember(): Candidate | null {
    return this.#search.candidates.find(({ isLocal, isMember }) => isLocal && isMember) ?? null;
  }

  /**
   * Said once per outage: guests wait meanwhile, and it is tried again many times. `isMove`: another node was named, so it is none yet.
   */
  #trouble(problem: string, isMove = false): void {
    this.problem = problem;
    if (this.#told || (isMove && this.parts.context.engine.nowNs - this.#sinceNs < SUSPECT_AFTER_MS * NS_PER_MS)) return;
    this.#told = true;
    this.#emit('path-lost', 'warn', `no path to vdisk "${this.name}"; its requests wait: ${problem}`);
  }

  /** Final: nothing of this session is applied any more. */
  #superseded({ node }: Candidate): void {
    if (this.problem.startsWith(SUPERSEDED)) return;
    this.problem = `${SUPERSEDED}: another attachment, or another datapath of this one, holds the vdisk now: its requests end with ESHUTDOWN; detach it from this host`;
    this.#stateChanged();
    const cause = `vdisk "${this.name}" is held by somebody else now; requests here end with ESHUTDOWN`;
    this.#emit('attachment-moved', 'warn', cause, { code: SUPERSEDED, node }, 'detach it from this host');
  }

  #stateChanged(): void {
    this.#sinceNs = this.parts.context.engine.nowNs;
  }

  #endSession(): void {
    if (this.#at !== null && !this.#stopping) closeSessionAt(this.parts, this.#at.target, this.identity);
  }

  #emit(kind: EventKind, severity: EventSeverity, cause: string, details: EventDraft['details'] = {}, action?: string): void {
    const { events, index } = this.parts.context;
    const { vdiskId } = this.identity;
    events.emit({ kind, severity, vdiskId, cause, details: { shard: index, ...details }, ...(action === undefined ? {} : { action }) });
  }

  #log(level: 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>>): void {
    this.parts.context.log.log(level, message, { vdisk: this.name, ...fields });
  }
}
