import type { ClientId } from 'uring-engine';
import type { BufferSet } from './buffers.js';
import type { Connection } from './connection.js';
import type { ExportDirectory } from './export.js';
import type { PausedHandshake } from './handshake/handshake.js';
import type { Negotiated } from './handshake/negotiation.js';
import type { SharedResources } from './requests/open-requests.js';
import type { TlsTerminator } from './tls/tls-thread.js';

/** What a connection asks of its server. */
export interface ConnectionHost extends SharedResources {
  readonly clientId: ClientId;
  readonly exports: ExportDirectory;
  readonly sharedStaging: BufferSet;
  readonly closing: boolean;
  readonly tls: TlsTerminator | null;
  /** An export has another size. */
  onResized(exportName: string): void;
  /** Calls `resume` before the next submission, `endTurn` at the end of the turn. */
  markDirty(connection: Connection): void;
  /** Null: the connection stays here. Else who takes it over. */
  chooseOwner(exportName: string): ((moved: MovedConnection) => void) | null;
  onGone(connection: Connection): void;
  /** It has left (`LettingGo.leave`). */
  onLeft(left: LeftConnection): void;
  logEnd(connection: Connection, reason: string): void;
}

/** A connection that was let go of at a boundary, for a server of this process or of another one: structured-cloneable. `fd` is of this process. */
export interface LeftConnection {
  readonly fd: number;
  /** How far it is: in the handshake, or past it. */
  readonly stage:
    { readonly kind: 'handshake'; readonly paused: PausedHandshake } | { readonly kind: 'transmission'; readonly negotiated: Negotiated };
  /** What was received and not yet looked at. */
  readonly leftover: Uint8Array;
}

/** A connection on its way to another server of this process, in another thread perhaps: structured-cloneable. */
export interface MovedConnection {
  readonly fd: number;
  readonly negotiated: Negotiated;
  /** What was received behind the last option. */
  readonly leftover: Uint8Array;
}
