import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import type { Logger } from '../base/log.js';
import type { TcpEndpoint } from '../meta/wire-store.js';
import { clientOptions, explain, type TlsCredentials } from '../transport/tls/credentials.js';
import { TlsThread } from '../transport/tls/tls-thread.js';
import { tlsCredentials, type TlsConfig } from './config/tls.js';
import { endNow } from './process.js';
import { ACCEPTING_SHARD } from './shard-worker.js';

/** The TLS thread of this process; null: nothing of it is encrypted. `node`: who it is; null: a datapath. */
export function startTls(config: TlsConfig | undefined, node: string | null, log: Logger): TlsThread | null {
  if (config === undefined) return null;
  const credentials = tlsCredentials(config, node, log);
  return new TlsThread({ credentials, acceptingShard: ACCEPTING_SHARD, log, onFatal: message => endNow(log, message) });
}

/** For the main thread itself, which has Node's loop: its metadata needs no other thread. */
export function connectTls(credentials: TlsCredentials): (endpoint: TcpEndpoint) => Socket {
  return ({ host, port, node }) => {
    const socket = connect({ host, port, ...clientOptions(credentials, node) });
    socket.on('error', error => void (error.message = explain(error)));
    return socket;
  };
}
