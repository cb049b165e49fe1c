/** What a server has done since its start. Read it at any time on the server's thread. */
export class ServerCounters {
  acceptedConnections = 0;
  openConnections = 0;
  /** Handed over to another server. */
  movedConnections = 0;
  /** Ended before the transmission phase, by whichever side. */
  failedHandshakes = 0;
  /** Given to TLS. */
  securedConnections = 0;
  /** Valid requests by command number (proto.md): 0 READ … 8 RESIZE. */
  readonly byCommand: number[] = new Array<number>(9).fill(0);
  readBytes = 0;
  writtenBytes = 0;
  /** Requests that were not valid. */
  refusedRequests = 0;
  /** Requests that the export finished with an error. */
  failedRequests = 0;
  /** Connections ended because the peer broke the protocol. */
  violations = 0;
}

/** Told once per turn of the engine, and only about turns in which something happened; `nowNs` is the engine's. */
export interface ServerProbes {
  onReceived(requests: number, nowNs: number): void;
  onReplied(bytes: number, nowNs: number): void;
}
