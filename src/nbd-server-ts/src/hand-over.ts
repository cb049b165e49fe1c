import type { LeftConnection } from './connection-host.js';
import type { TlsMode } from './handshake/negotiation.js';

/** `fd` is of this process. */
export interface LeftListener {
  readonly fd: number;
  readonly tls: TlsMode;
}

/** All that a server had open: another one, of this process or of another, goes on with it, or the same one takes it back. */
export interface HandedOver {
  readonly connections: readonly LeftConnection[];
  readonly listeners: readonly LeftListener[];
}

/** `handed`: null where `problem` says why not; the server serves as before then. */
export type HandOverListener = (handed: HandedOver | null, problem: string) => void;

/** A hand-over on its way: what the server has let go of so far. */
export class HandOver {
  readonly connections: LeftConnection[] = [];
  readonly listeners: LeftListener[] = [];

  constructor(
    readonly deadlineNs: number,
    readonly done: HandOverListener,
  ) {}

  get handed(): HandedOver {
    return { connections: this.connections, listeners: this.listeners };
  }
}
