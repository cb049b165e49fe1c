import { EngineError, type ClientId, type Engine, type EngineClient, type Slot } from 'uring-engine';
import type { ArenaRegion } from 'uring-engine';
import { BufferSet, largeBufferSet } from './buffers.js';
import { Connection } from './connection.js';
import type { ConnectionHost, LeftConnection, MovedConnection } from './connection-host.js';
import { ServerCounters, type ServerProbes } from './counters.js';
import { NbdServerError } from './errors.js';
import type { ExportDirectory } from './export.js';
import { HandOver, type HandedOver, type HandOverListener } from './hand-over.js';
import type { Negotiated, TlsMode } from './handshake/negotiation.js';
import type { PausedHandshake } from './handshake/handshake.js';
import { checkLimits, CONNECTION_BYTES, DEFAULT_LIMITS, serverRegionBytes, STAGING_BYTES, type ServerLimits } from './limits.js';
import { RequestPool } from './pending-request.js';
import { ReadBudget } from './read-budget.js';
import { ReusedList } from './reused-list.js';
import type { TlsTerminator } from './tls/tls-thread.js';

/** What the server changes of what its connections see. A plain field: an object with a getter of its own is slow to read from. */
type ServerHost = Omit<ConnectionHost, 'closing'> & { closing: boolean };

/** A line for people; `fields` are for machines. */
export type ServerLog = (level: 'debug' | 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>>) => void;

export interface NbdServerOptions {
  readonly engine: Engine;
  /** The server takes {@link serverRegionBytes}(limits) of it, at once. */
  readonly region: ArenaRegion;
  readonly exports: ExportDirectory;
  readonly limits?: Partial<ServerLimits>;
  readonly log?: ServerLog;
  readonly probes?: ServerProbes;
  /** Without it clients cannot have TLS, and exports that require it are unknown to them. Needs uring-engine's addon. */
  readonly tls?: {
    /** `forced`: nothing is said or served without TLS. `selective`: clients may have it, and exports may require it. */
    readonly mode: 'selective' | 'forced';
    /** A {@link TlsThread}; it may serve several servers. */
    readonly terminator: TlsTerminator;
  };
  /** False: LIST is refused (ERR_POLICY); who knows a name may have it. */
  readonly offerList?: boolean;
  /**
   * A connection has chosen its export. `'keep'`: it is served here. A function: it is given the connection, once all answers are sent, to hand
   * it to another server's {@link NbdServer.adoptNegotiated}.
   */
  readonly onTransmission?: (exportName: string) => 'keep' | ((moved: MovedConnection) => void);
}

export interface CloseOptions {
  /** Connections that are not done by then are ended. */
  readonly deadlineMs?: number;
  /**
   * What becomes of requests that come in meanwhile. `refuse`: ESHUTDOWN. `ignore`: they are not read, so that a client that
   * reconnects sends them again and its user sees no error.
   */
  readonly newRequests?: 'refuse' | 'ignore';
}

const DEFAULT_CLOSE_DEADLINE_MS = 1_000;
/** How long a client in the handshake has to meet ERR_SHUTDOWN. */
const HANDSHAKE_GRACE_NS = 50e6;
const SWEEP_NS = 100e6;
/** A look that comes so much too late finds that the server stood still. */
const STILL_NS = 100e6;
const NS_PER_MS = 1e6;

/** Turn-end hooks: held-up requests go on before exports close their batches (10); replies go out last. */
const RESUME_ORDER = 5;
const REPLY_ORDER = 30;

const TAG_SHIFT = 3;
const KIND_MASK = 7;
const ACCEPT_KIND = 4;
const SWEEP_KIND = 5;

/** Serves exports to NBD clients on one engine, that is on one thread. */
export class NbdServer implements EngineClient {
  readonly counters = new ServerCounters();
  readonly limits: ServerLimits;
  readonly #engine: Engine;
  readonly #clientId: ClientId;
  readonly #connections: (Connection | null)[];
  readonly #freeIndexes: number[] = [];
  readonly #listeners: { readonly slot: Slot; readonly tls: TlsMode; accepting: boolean }[] = [];
  #dirty = new ReusedList<Connection>();
  #resuming = new ReusedList<Connection>();
  readonly #host: ServerHost;
  readonly #connectionsOffset: number;
  readonly #probes: ServerProbes | null;
  #receivedBefore = 0;
  /** When the next look at the clock is due; 0: none is. */
  #sweepDueNs = 0;
  #closing: { readonly deadlineNs: number; readonly graceNs: number; readonly done: () => void } | null = null;
  #closed = false;
  #handOver: HandOver | null = null;

  constructor(private readonly options: NbdServerOptions) {
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    checkLimits(limits);
    this.limits = limits;
    this.#engine = options.engine;
    this.#probes = options.probes ?? null;
    this.#clientId = options.engine.register(this);
    const base = options.region.take(serverRegionBytes(limits));
    this.#connectionsOffset = base;
    const stagingOffset = base + limits.maxConnections * CONNECTION_BYTES;
    const sharedStaging = new BufferSet(stagingOffset, STAGING_BYTES, limits.extraStagingBuffers);
    const largeBuffers = largeBufferSet(stagingOffset + limits.extraStagingBuffers * STAGING_BYTES, limits.largeBuffers);
    this.#connections = new Array<Connection | null>(limits.maxConnections).fill(null);
    for (let i = limits.maxConnections - 1; i >= 0; i--) this.#freeIndexes.push(i);
    this.#host = this.#makeHost(sharedStaging, largeBuffers);
    options.engine.atTurnEnd(RESUME_ORDER, () => this.#resume());
    options.engine.atTurnEnd(REPLY_ORDER, () => this.#endTurn());
  }

  /** Accepts connections from a listener that the engine has made or adopted. `tls`: for those that come there, in place of `tls.mode` of the options. */
  listen(listener: Slot, tls: TlsMode = this.#tlsMode): void {
    if (tls !== 'off' && this.options.tls === undefined)
      throw new NbdServerError('ERR_TLS_UNAVAILABLE', 'the server was made without TLS: give it a terminator in its options');
    if (this.#closing !== null || this.#closed) throw new NbdServerError('ERR_SERVER_CLOSED', 'the server is closed: make another');
    this.#listeners.push({ slot: listener, tls, accepting: false });
    this.#accept();
  }

  /** A connected socket of this process, at the start of its handshake. Closed where the server is full. */
  adoptConnection(fd: number): void {
    this.#admit(this.#engine.adopt(fd, 'socket'), this.#tlsMode);
  }

  /** A connection that another server has negotiated and let go of. Closed where the server is full or has no such export. */
  adoptNegotiated(fd: number, negotiated: Negotiated, leftover: Uint8Array): void {
    const slot = this.#engine.adopt(fd, 'socket');
    const target = this.options.exports.find(negotiated.exportName);
    const connection = target === undefined ? null : this.#place();
    if (target === undefined || connection === null) {
      this.#log('warn', target === undefined ? 'an adopted connection wants an unknown export' : 'an adopted connection finds no place', {
        export: negotiated.exportName,
      });
      this.#engine.close(slot, this.#clientId, ACCEPT_KIND + 2);
      return;
    }
    connection.adopted(slot, target, negotiated, leftover);
    if (this.#handOver !== null) connection.lettingGo.leave();
    if (this.limits.idleTimeoutMs > 0) this.#armSweep(SWEEP_NS);
  }

  /**
   * Lets go of every listener and connection, for another server or process to go on with: each connection between two requests, when all that it was asked is
   * answered and sent. Then calls `done`, within a turn of the engine, not during this call; the server has nothing open then, and may be closed, or given
   * it all back ({@link takeBack}). Where it does not come so far within the time it serves on as before.
   */
  handOver(deadlineMs: number, done: HandOverListener): void {
    if (this.#handOver !== null || this.#closing !== null || this.#closed)
      return done(null, 'the server is closing, or handing over already');
    if (this.#connections.some(one => one !== null && one.phase !== 'gone' && one.lettingGo.isSecure))
      return done(null, 'a connection is in TLS, which ends with this process');
    this.#handOver = new HandOver(this.#engine.nowNs + deadlineMs * NS_PER_MS, done);
    for (const { slot } of this.#listeners) this.#engine.interrupt(slot);
    for (const connection of this.#connections) connection?.lettingGo.leave();
    this.#armSweep(1);
  }

  /** Goes on with what a server has handed over, this one or another of the same exports. */
  takeBack({ connections, listeners }: HandedOver): void {
    for (const { fd, stage, leftover } of connections) {
      if (stage.kind === 'transmission') this.adoptNegotiated(fd, stage.negotiated, leftover);
      else this.#admit(this.#engine.adopt(fd, 'socket'), stage.paused.tls, stage.paused, leftover);
    }
    for (const { fd, tls } of listeners) this.listen(this.#engine.adopt(fd, 'listener'), tls);
  }

  /** Ends the connections to an export: their outstanding requests are finished and answered, further ones are not read. */
  disconnect(exportName: string): void {
    for (const connection of this.#connections) if (connection?.exportName === exportName) connection.finish();
  }

  /** Connections to an export, those that are ending included. */
  connectionCount(exportName: string): number {
    return this.#connections.filter(
      connection => connection !== null && connection.phase !== 'gone' && connection.exportName === exportName,
    ).length;
  }

  /** The export has another size: connections to it learn that further requests are measured by it. Clients that ask are told in INFO and GO. */
  exportResized(exportName: string): void {
    for (const connection of this.#connections) if (connection?.exportName === exportName) connection.refreshSize();
  }

  /** Stops accepting, lets what is outstanding finish, closes everything; then calls `done`, within a turn of the engine. Listener slots are closed. */
  close(done: () => void, { deadlineMs = DEFAULT_CLOSE_DEADLINE_MS, newRequests = 'refuse' }: CloseOptions = {}): void {
    if (this.#closing !== null || this.#closed) throw new NbdServerError('ERR_SERVER_CLOSED', 'close was called before');
    if (this.#handOver !== null) this.#giveUpHandOver(this.#handOver, 'the server is closing');
    const now = this.#engine.nowNs;
    this.#host.closing = true;
    this.#closing = { deadlineNs: now + deadlineMs * NS_PER_MS, graceNs: now + HANDSHAKE_GRACE_NS, done };
    for (const { slot } of this.#listeners) this.#engine.close(slot, this.#clientId, ACCEPT_KIND + 2);
    if (newRequests === 'ignore') for (const connection of this.#connections) connection?.finish();
    this.#armSweep(1);
  }

  onCompletion(tag: number, result: number): void {
    const kind = tag & KIND_MASK;
    const index = tag >>> TAG_SHIFT;
    if (kind < ACCEPT_KIND) this.#connections[index]!.onCompletion(kind, result);
    else if (kind === ACCEPT_KIND) this.#onAccepted(index, result);
    else if (kind === SWEEP_KIND) this.#sweep();
  }

  // ---- accepting
  get #tlsMode(): TlsMode {
    return this.options.tls?.mode ?? 'off';
  }

  #accept(): void {
    if (this.#closing !== null || this.#closed || this.#handOver !== null) return;
    for (let i = 0; i < this.#listeners.length; i++) {
      const listener = this.#listeners[i]!;
      // One accept may be under way for each listener: keep a place for each.
      if (listener.accepting || this.#freeIndexes.length <= this.#acceptsUnderWay()) continue;
      listener.accepting = true;
      this.#engine.accept(listener.slot, this.#clientId, (i << TAG_SHIFT) | ACCEPT_KIND);
    }
  }

  #acceptsUnderWay(): number {
    return this.#listeners.filter(listener => listener.accepting).length;
  }

  #onAccepted(listenerIndex: number, result: number): void {
    const listener = this.#listeners[listenerIndex]!;
    listener.accepting = false;
    if (result >= 0) this.#admit(result, listener.tls);
    else if (this.#closing === null && this.#handOver === null) this.#log('warn', `accept failed (errno ${-result})`, { errno: -result });
    this.#accept();
  }

  #admit(slot: Slot, tls: TlsMode, paused?: PausedHandshake, leftover?: Uint8Array): void {
    const connection = this.#closing !== null || this.#closed ? null : this.#place();
    if (connection === null) {
      this.#engine.close(slot, this.#clientId, ACCEPT_KIND + 2);
      return;
    }
    this.counters.acceptedConnections++;
    const { offerList = true } = this.options;
    const deadlineNs = this.#engine.nowNs + this.limits.handshakeTimeoutMs * NS_PER_MS;
    connection.accepted(slot, deadlineNs, { tls, offerList }, paused, leftover);
    if (this.#handOver !== null) connection.lettingGo.leave();
    this.#armSweep(SWEEP_NS);
  }

  #place(): Connection | null {
    const index = this.#freeIndexes.pop();
    if (index === undefined) return null;
    this.counters.openConnections++;
    return (this.#connections[index] ??= new Connection(this.#host, index, this.#connectionsOffset + index * CONNECTION_BYTES));
  }

  #makeHost(sharedStaging: BufferSet, largeBuffers: BufferSet): ServerHost {
    const { engine, exports, onTransmission } = this.options;
    const server = this;
    return {
      engine,
      arena: engine.arena,
      clientId: this.#clientId,
      exports,
      sharedStaging,
      largeBuffers,
      requests: new RequestPool(engine.arena),
      readBudget: new ReadBudget(this.limits.maxReadBytes),
      counters: this.counters,
      probes: this.#probes,
      submittedAtOnce: 0,
      closing: false,
      tls: this.options.tls?.terminator ?? null,
      onResized(exportName) {
        server.exportResized(exportName);
      },
      markDirty(connection) {
        if (connection.dirty) return;
        connection.dirty = true;
        server.#dirty.push(connection);
      },
      chooseOwner(exportName) {
        const choice = onTransmission?.(exportName) ?? 'keep';
        return choice === 'keep' ? null : choice;
      },
      onGone(connection) {
        server.counters.openConnections--;
        server.#freeIndexes.push(connection.index);
        server.#accept();
        server.#checkClosed();
      },
      onLeft(left) {
        server.#onLeft(left);
      },
      logEnd(connection, reason) {
        server.#log('debug', 'connection ends', { connection: connection.index, export: connection.exportName, reason });
      },
    };
  }

  // ---- turns
  #resume(): void {
    // What resumes may mark others, and itself.
    const dirty = this.#dirty;
    for (let i = 0; i < dirty.count; i++) dirty.items[i]!.resume();
  }

  #endTurn(): void {
    if (this.#dirty.count > 0) this.#endDirty();
    if (this.#handOver !== null) this.#goOnHandingOver(this.#handOver);
  }

  #endDirty(): void {
    const dirty = this.#dirty;
    this.#dirty = this.#resuming;
    if (this.#probes !== null) this.#reportReceived(this.#probes);
    for (let i = 0; i < dirty.count; i++) {
      const connection = dirty.items[i]!;
      connection.dirty = false;
      connection.afterClose();
      connection.endTurn(this.#probes);
    }
    dirty.clear();
    this.#resuming = dirty;
  }

  #reportReceived(probes: ServerProbes): void {
    let received = 0;
    for (const count of this.counters.byCommand) received += count;
    const { submittedAtOnce } = this.#host;
    if (received > this.#receivedBefore || submittedAtOnce > 0) probes.onReceived(received - this.#receivedBefore, submittedAtOnce);
    this.#host.submittedAtOnce = 0;
    this.#receivedBefore = received;
  }

  // ---- handing over
  #onLeft(left: LeftConnection): void {
    this.#handOver!.connections.push(left);
    this.counters.movedConnections++;
  }

  /** Listeners whose accept has ended go; when nothing is open any more, it is done. */
  #goOnHandingOver(handOver: HandOver): void {
    for (let i = this.#listeners.length - 1; i >= 0; i--) {
      const { accepting } = this.#listeners[i]!;
      if (accepting || !this.#releaseListener(handOver, i)) return;
      this.#listeners.pop();
    }
    if (this.counters.openConnections > 0) return;
    this.#handOver = null;
    handOver.done(handOver.handed, '');
  }

  #releaseListener(handOver: HandOver, index: number): boolean {
    const { slot, tls } = this.#listeners[index]!;
    try {
      handOver.listeners.unshift({ fd: this.#engine.release(slot), tls });
      return true;
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'ERR_SLOT')) {
        this.#giveUpHandOver(handOver, (error as Error).message);
        return false;
      }
      // The engine has accepted ahead: those are taken first.
      this.#listeners[index]!.accepting = true;
      this.#engine.accept(slot, this.#clientId, (index << TAG_SHIFT) | ACCEPT_KIND);
      return false;
    }
  }

  #giveUpHandOver(handOver: HandOver, problem: string): void {
    this.#handOver = null;
    for (const connection of this.#connections) connection?.lettingGo.stay();
    this.takeBack(handOver.handed);
    this.#accept();
    handOver.done(null, problem);
  }

  // ---- time
  #armSweep(delayNs: number): void {
    if (this.#sweepDueNs > 0) return;
    this.#sweepDueNs = this.#engine.nowNs + delayNs;
    this.#engine.timer(delayNs, this.#clientId, SWEEP_KIND);
  }

  /** Ends what is over time; goes on while there is something to watch. */
  #sweep(): void {
    const now = this.#engine.nowNs;
    // Time in which this thread, or the machine, stood still is not the clients': what they have said meanwhile may not be here yet.
    const lateNs = now - this.#sweepDueNs;
    const stoodStillNs = lateNs > STILL_NS ? lateNs : 0;
    this.#sweepDueNs = 0;
    const closing = this.#closing;
    const idleNs = this.limits.idleTimeoutMs * NS_PER_MS;
    let watching = closing !== null;
    for (const connection of this.#connections) {
      if (connection === null || connection.phase === 'gone') continue;
      connection.handshakeDeadlineNs += stoodStillNs;
      connection.activeAtNs += stoodStillNs;
      if (connection.phase === 'handshake' || connection.phase === 'upgrading' || connection.phase === 'moving') {
        if (now >= connection.handshakeDeadlineNs) connection.abort('the handshake took too long');
        else if (closing !== null && now >= closing.graceNs) connection.abort('the server is closing');
        else watching = true;
      } else if (idleNs > 0) {
        watching = true;
        this.#endIdle(connection, now, idleNs);
      }
      if (closing === null) continue;
      if (now >= closing.deadlineNs) connection.abort('the server is closing, its deadline has passed');
      else if (connection.quiet) connection.finish();
    }
    this.#checkClosed();
    const handOver = this.#handOver;
    if (handOver !== null && now >= handOver.deadlineNs) this.#giveUpHandOver(handOver, this.#whatHoldsUp());
    else watching ||= handOver !== null;
    if (watching && !this.#closed) this.#armSweep(closing === null ? SWEEP_NS : SWEEP_NS / 20);
  }

  #whatHoldsUp(): string {
    const open = this.#connections.filter(one => one !== null && one.phase !== 'gone');
    const names = [...new Set(open.map(one => one!.exportName || 'no export yet'))].join(', ');
    return `${open.length} connections have requests that were not answered, or not sent whole, in time (${names})`;
  }

  #endIdle(connection: Connection, now: number, idleNs: number): void {
    if (connection.activity !== connection.activityThen || connection.waitsForExport) {
      connection.activityThen = connection.activity;
      connection.activeAtNs = now;
    } else if (now - connection.activeAtNs >= idleNs) connection.abort('idle for too long');
  }

  #checkClosed(): void {
    const closing = this.#closing;
    if (closing === null || this.#closed || this.counters.openConnections > 0) return;
    this.#closed = true;
    closing.done();
  }

  #log(level: 'debug' | 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>>): void {
    this.options.log?.(level, message, fields);
  }
}
