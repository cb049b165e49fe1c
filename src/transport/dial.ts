import type { SocketAddress } from 'uring-engine';
import type { ConnectionTable } from './connection-table.js';

/** Where to connect over TCP: a numeric address, and who has to be there, where that can be proved (TLS). */
export interface TcpTarget {
  readonly host: string;
  readonly port: number;
  readonly node?: string;
}

/** A Unix socket's path, or an address to go to over TCP. */
export type StreamTarget = string | TcpTarget;

/** How connections over TCP are made if not by the engine itself. Completes `tag` of the table with a slot or -errno, later. */
export type Dialer = (target: TcpTarget, tag: number) => void;

export function dial(table: ConnectionTable, target: StreamTarget, tag: number, dialer?: Dialer): void {
  if (typeof target !== 'string' && dialer !== undefined) dialer(target, tag);
  else table.engine.connect(socketAddress(target), table.client, tag);
}

export function streamKind(target: StreamTarget): 'unix' | 'tcp' {
  return typeof target === 'string' ? 'unix' : 'tcp';
}

function socketAddress(target: StreamTarget): SocketAddress {
  return typeof target === 'string' ? { family: 'unix', path: target } : { family: 'tcp', host: target.host, port: target.port };
}
