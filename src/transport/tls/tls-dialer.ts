import { constants } from 'node:os';
import { connect, type TLSSocket } from 'node:tls';
import type { TcpTarget } from '../dial.js';
import { clientOptions, explain, type TlsCredentials } from './credentials.js';
import { HANDSHAKE_TIMEOUT_MS } from './limits.js';
import type { Troubles } from './tell.js';

const { errno: ERRNO } = constants;
const FAILED = 'no TLS connection to another Stargate';

/** Makes connections over TCP to Stargates that have shown a certificate of the cluster, and the right one. */
export class TlsDialer {
  readonly #dials = new Set<(errno: number) => void>();
  #isClosed = false;

  constructor(
    private readonly credentials: TlsCredentials,
    private readonly troubles: Troubles,
  ) {}

  /** `done` once, with the connection or -errno; never during this call. */
  dial(target: TcpTarget, done: (result: TLSSocket | number) => void): void {
    if (this.#isClosed) {
      setImmediate(done, -ERRNO.ECANCELED);
      return;
    }
    const { host, port, node } = target;
    const secure = connect({ host, port, ...clientOptions(this.credentials, node) });
    const end = (result: TLSSocket | number): void => {
      if (!this.#dials.delete(fail)) return;
      clearTimeout(timer);
      if (typeof result === 'number') secure.destroy();
      done(result);
    };
    const fail = (errno: number): void => end(-errno);
    this.#dials.add(fail);
    const address = `${host}:${port}`;
    const timer = setTimeout(() => {
      this.troubles.tell(FAILED, address, `no handshake within ${HANDSHAKE_TIMEOUT_MS} ms`);
      fail(ERRNO.ETIMEDOUT);
    }, HANDSHAKE_TIMEOUT_MS);
    secure.once('secureConnect', () => end(secure));
    // Behind the handshake, too: what the other side thinks of our certificate it says then.
    secure.on('error', (error: NodeJS.ErrnoException) => {
      const known = ERRNO[error.code as keyof typeof ERRNO] as number | undefined;
      // A node that is away is told by who wants to speak to it.
      if (known === undefined || known === ERRNO.EPROTO) this.troubles.tell(FAILED, address, explain(error));
      fail(known ?? ERRNO.EPROTO);
    });
    secure.once('close', () => fail(ERRNO.ECONNRESET));
  }

  /** Dials that are under way fail, and those to come. */
  close(): void {
    this.#isClosed = true;
    for (const fail of [...this.#dials]) fail(ERRNO.ECANCELED);
  }
}
