import { GatepathError } from '../../base/errors.js';
import type { ControlClient } from '../../control/client.js';
import type { AttachmentView, FinishImportRequest, VdiskView } from '../../control/schemas.js';
import { RENEW_INTERVAL_MS } from './limits.js';

/** The client's side of a lease: what the system lets it have to itself as long as it says that it lives. */
export class Lease {
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #renewing = false;

  private constructor(
    readonly attachment: AttachmentView,
    private readonly connect: () => Promise<ControlClient>,
  ) {
    this.#timer = setInterval(() => void this.#renew(), RENEW_INTERVAL_MS);
  }

  /** `connect`: finds a node that answers, each time: another one may do so by then. */
  static async begin(connect: () => Promise<ControlClient>, begin: (client: ControlClient) => Promise<AttachmentView>): Promise<Lease> {
    return new Lease(await begin(await connect()), connect);
  }

  /** Aborted, with the reason, when the system has taken it back. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** The NBD socket, which is on this machine or of no use. */
  get socketPath(): string {
    const { nbdSocket, host } = this.attachment;
    if (nbdSocket !== null) return nbdSocket;
    throw new GatepathError(
      'invalid',
      'ERR_NO_DATAPATH',
      `no datapath has ever run at host "${host}"`,
      'start one, or name another host: --host',
    );
  }

  async finishImport(wanted: FinishImportRequest): Promise<VdiskView> {
    clearInterval(this.#timer);
    return (await this.connect()).finishImport(this.attachment.vdiskId, wanted);
  }

  /** False: nobody has heard it; the system ends it later. */
  async end(): Promise<boolean> {
    clearInterval(this.#timer);
    try {
      await (await this.connect()).endLease(this.attachment.vdiskId);
      return true;
    } catch (error) {
      return isLost(error);
    }
  }

  /** One that is not heard counts for nothing: there are ten of them before the lease lapses. */
  async #renew(): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      await (await this.connect()).renewLease(this.attachment.vdiskId);
    } catch (error) {
      if (isLost(error)) this.#lost.abort(error);
    }
    this.#renewing = false;
  }
}

const isLost = (error: unknown): boolean => error instanceof GatepathError && error.code === 'ERR_LEASE_LOST';
