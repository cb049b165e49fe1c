import type { SessionProbes } from '../base/probe.js';
import type { SessionRequest } from './session-request.js';

/** What a session needs from those around it, and what it counts. */

export interface SessionPorts {
  /**
   * Opens a path; `session.opened`, `refused` or `pathEnded` follow with the same `epoch`, later than this call or during it. `failures`: attempts
   * in a row that came to nothing, for the choice of the path.
   */
  openPath(epoch: number, failures: number): void;
  /** Gives up the attempt that has not been answered. */
  abandonPath(epoch: number): void;
  /** Calls `session.retry(epoch)` after the delay that is right for so many failures. */
  startRetry(epoch: number, failures: number): void;
  /** Detached: tells Stargate that the session is over for good. Best effort: the next exclusive attachment ends it anyway. */
  endSession(): void;
  /** Two controllers, of these terms, have died of one of these requests, it seems; the vdisk is held from now on. */
  accuse(requests: readonly SessionRequest[], terms: readonly [number, number]): void;
  /** Time of the turn. */
  nowNs(): number;
  readonly floor: TermFloor;
  /** Called once, before the first request: where it is written down what they took. */
  openProbes(): SessionProbes;
}

/** Rule 17: highest term seen of the vdisk, over all shards of the datapath. */
export interface TermFloor {
  current(): number;
  raise(term: number): void;
  /** Rule 19: sessions that have given up something of which nobody knows yet whether it has taken effect. */
  unsettled(): number;
  /** One more (1) or one less (-1). */
  addUnsettled(change: 1 | -1): void;
  /** The vdisk is quarantined: its requests wait, and no controller is asked. */
  isHeld(): boolean;
  hold(): void;
}

export interface SessionCounters {
  opened: number;
  lost: number;
  replayed: number;
  /** Replies that came from a controller whose term has passed. */
  belowFloor: number;
  staleEvents: number;
  /** Answered with an error, for the time that they had waited. */
  givenUp: number;
}
