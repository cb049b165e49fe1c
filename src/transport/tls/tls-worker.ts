import { constants } from 'node:os';
import type { TLSSocket } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import { socketPair } from 'uring-engine';
import { TlsAcceptor } from './acceptor.js';
import { join } from './join.js';
import { MAX_TLS_CONNECTIONS } from './limits.js';
import type { FromTlsThread, ToTlsThread, TlsThreadData } from './messages.js';
import { Troubles } from './tell.js';
import { TlsDialer } from './tls-dialer.js';

const { credentials } = workerData as TlsThreadData;
const say = (message: FromTlsThread): void => parentPort!.postMessage(message);
const troubles = new Troubles((level, message, fields) => say({ kind: 'log', level, message, fields }));
const dialer = new TlsDialer(credentials, troubles);
let connections = 0;

/** The near end of the connection's plaintext; null: there is no room for it, and it is closed. */
function takeOn(secure: TLSSocket): number | null {
  const refuse = (why: string): null => {
    troubles.tell('a TLS connection was closed', secure.remoteAddress ?? 'nowhere', why);
    secure.on('error', () => undefined).destroy();
    return null;
  };
  if (secure.destroyed) return null;
  if (connections >= MAX_TLS_CONNECTIONS) return refuse(`there are ${MAX_TLS_CONNECTIONS} already`);
  let ends: [number, number];
  try {
    ends = socketPair();
  } catch (error) {
    return refuse((error as Error).message);
  }
  connections++;
  secure.once('close', () => connections--);
  join(secure, ends[1]);
  return ends[0];
}

const acceptor = new TlsAcceptor(credentials, troubles, (secure, peer) => {
  const fd = takeOn(secure);
  if (fd !== null) say({ kind: 'accepted', fd, peer });
});

parentPort!.on('message', (message: ToTlsThread) => {
  if (message.kind === 'refuse') {
    acceptor.close();
    dialer.close();
  } else if (message.kind === 'dial') {
    const { shard, request, target } = message;
    dialer.dial(target, result => {
      const fd = typeof result === 'number' ? result : (takeOn(result) ?? -constants.errno.ENOBUFS);
      say({ kind: 'dialed', shard, request, result: fd });
    });
  } else {
    acceptor.listen(message.host, message.port).then(
      () => say({ kind: 'listening', problem: null }),
      ({ code = 'ERR_LISTEN', message: why }: NodeJS.ErrnoException) => say({ kind: 'listening', problem: { code, message: why } }),
    );
  }
});
