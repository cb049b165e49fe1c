import { EngineError, errno, socketPair } from 'uring-engine';
import type { Staging } from './buffers.js';
import type { Connection } from './connection.js';
import type { ConnectionHost, LeftConnection, MovedConnection } from './connection-host.js';

/** How the socket of a connection comes to be another's: the TLS thread's, that of another server of this process, or that of another process. */
export class LettingGo {
  /** To leave at the next boundary. */
  leaving = false;
  /** Its receive has been interrupted for that. */
  #interrupted = false;

  constructor(
    private readonly connection: Connection,
    private readonly host: ConnectionHost,
    private readonly staging: Staging,
  ) {}

  /** For the next connection in this place. */
  reset(): void {
    this.leaving = this.#interrupted = false;
  }

  /** A TLS thread of this process has the client's end of it. */
  get isSecure(): boolean {
    const { phase, handshake, negotiated } = this.connection;
    return phase === 'upgrading' || (handshake?.secure ?? negotiated?.secure ?? false);
  }

  // ---- to another process
  /** At the next boundary, everything answered and said, it is let go of ({@link ConnectionHost.onLeft}); what was received behind that goes along. */
  leave(): void {
    this.#setLeaving(true);
  }

  /** It stays after all. */
  stay(): void {
    this.#setLeaving(false);
  }

  #setLeaving(leaving: boolean): void {
    const { connection } = this;
    if (connection.phase === 'gone') return;
    this.leaving = leaving;
    if (connection.intake !== null) connection.intake.pausing = leaving;
    connection.lookAgain();
  }

  /** A receive has ended. True: as it was asked to, and nothing has come. */
  receiveEnded(result: number): boolean {
    const wasInterrupted = this.#interrupted && result === -errno.ECANCELED;
    this.#interrupted = false;
    return wasInterrupted;
  }

  /** False: it is not at a boundary, and goes on as always. */
  goOn(): boolean {
    const { connection } = this;
    const stage = connection.allSent ? this.#stage() : null;
    if (stage === null) return false;
    if (connection.receiving) {
      if (!this.#interrupted) this.host.engine.interrupt(connection.slot);
      this.#interrupted = true;
    } else this.#left(stage);
    return true;
  }

  #stage(): LeftConnection['stage'] | null {
    const { phase, handshake, intake, negotiated } = this.connection;
    if (phase === 'handshake') {
      const paused = handshake!.pause();
      return paused === null ? null : { kind: 'handshake', paused };
    }
    if (phase !== 'transmission' || intake === null) return null;
    const { pausing, requests, machine, largeWrite } = intake;
    if (!pausing || requests.count > 0 || largeWrite.request !== null || !machine.atBoundary) return null;
    return { kind: 'transmission', negotiated: negotiated! };
  }

  #left(stage: LeftConnection['stage']): void {
    const { connection, host } = this;
    const fd = this.#release('cannot be handed over');
    if (fd === null) return;
    const leftover = this.#takeLeftover();
    const { intake } = connection;
    connection.released();
    host.readBudget.forget(connection);
    intake?.requests.session.close();
    host.onLeft({ fd, stage, leftover });
    host.onGone(connection);
  }

  // ---- to another server of this process
  /** Before its first request. False: it cannot be moved, and is served here. */
  move(to: (moved: MovedConnection) => void): boolean {
    const { connection, host } = this;
    let fd: number;
    try {
      fd = host.engine.release(connection.slot);
    } catch (error) {
      // An engine that has read ahead cannot let a socket go.
      host.logEnd(connection, `cannot be moved: ${(error as Error).message}`);
      return false;
    }
    const leftover = this.#takeLeftover();
    const negotiated = connection.negotiated!;
    connection.released();
    host.counters.movedConnections++;
    host.onGone(connection);
    to({ fd, negotiated, leftover });
    return true;
  }

  // ---- to TLS
  /** From here on the client's socket is the TLS thread's, and this end of a pair of sockets is ours. False: not now, or it cannot be, and is ended. */
  toTls(): boolean {
    const { connection, host, staging } = this;
    const { engine, arena, tls } = host;
    const clientFd = this.#release('cannot go over to TLS');
    if (clientFd === null) return false;
    let pair: [number, number];
    try {
      pair = socketPair();
    } catch (error) {
      connection.slot = engine.adopt(clientFd, 'socket');
      connection.abort(`cannot go over to TLS: ${(error as Error).message}`);
      return false;
    }
    // Whatever was read ahead, it comes to TLS and to nothing else.
    const head = arena.bytes.slice(staging.position, staging.end);
    staging.position = staging.end;
    tls!.terminate(clientFd, pair[1], head);
    connection.slot = engine.adopt(pair[0], 'socket');
    return true;
  }

  // ---- the socket
  /** Its descriptor. Null: not now, or it cannot be let go of; what is to be done about that is done. */
  #release(failure: string): number | null {
    const { connection } = this;
    try {
      return this.host.engine.release(connection.slot);
    } catch (error) {
      // An engine that has read ahead lets the socket go when that is taken.
      if (error instanceof EngineError && error.code === 'ERR_SLOT') connection.receiveMore();
      else connection.abort(`${failure}: ${(error as Error).message}`);
      return null;
    }
  }

  #takeLeftover(): Uint8Array {
    const { staging } = this;
    const leftover = this.host.arena.bytes.slice(staging.position, staging.end);
    staging.destroy();
    return leftover;
  }
}
