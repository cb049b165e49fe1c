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

/** Told once per turn of the engine, and only about turns in which something happened. Times are differences of the engine's `nowNs`. */
export interface ServerProbes {
  /** `atOnce`: requests, and pieces of large ones, that were given to their exports in the turn in which they came. */
  onReceived(requests: number, atOnce: number): void;
  /** Of a request, or a piece of a large one, that was not given to its export in the turn in which it came: it waited for its payload or for memory. */
  onWaited(waitedNs: number): void;
  /** A send begins, with so many answers; they had waited for the one before it. */
  onReplied(replies: number, bytes: number, waitedNs: number): void;
  /** A send has ended that was waited for. */
  onSent(sendNs: number): void;
}
