import type { LogLevel } from '../../base/log.js';
import type { TcpTarget } from '../dial.js';
import type { TlsCredentials, TlsPeer } from './credentials.js';

/** What the thread that does TLS is given at its start. */
export interface TlsThreadData {
  readonly credentials: TlsCredentials;
}

/** Of a shard, by way of the main thread. `request` is the shard's number for it. */
export interface DialRequest {
  readonly request: number;
  readonly target: TcpTarget;
}

/** `result`: the near end of a pair of sockets with the plaintext, or -errno. It belongs to who gets this. */
export interface DialReply {
  readonly request: number;
  readonly result: number;
}

/** A connection that has shown who it is: the near end of a pair of sockets with its plaintext. */
export interface AcceptedConnection {
  readonly fd: number;
  readonly peer: TlsPeer;
}

/** Main thread → TLS thread. `refuse`: the shards end, and wait for their dials. */
export type ToTlsThread =
  | { readonly kind: 'listen'; readonly host: string; readonly port: number }
  | ({ readonly kind: 'dial'; readonly shard: number } & DialRequest)
  | { readonly kind: 'refuse' };

/** TLS thread → main thread. */
export type FromTlsThread =
  | { readonly kind: 'listening'; readonly problem: { readonly code: string; readonly message: string } | null }
  | ({ readonly kind: 'dialed'; readonly shard: number } & DialReply)
  | ({ readonly kind: 'accepted' } & AcceptedConnection)
  | { readonly kind: 'log'; readonly level: LogLevel; readonly message: string; readonly fields: Record<string, unknown> };
