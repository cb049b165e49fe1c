import { BLOCK_BYTES, MAX_SIZE_BYTES, wholeBlocks } from '../base/size.js';
import { GatepathError } from '../base/errors.js';
import { attachmentsOf } from '../meta/found.js';
import { beginExport, beginImport, endLease, finishImport, leasedVdisk, renewLease } from '../meta/leases.js';
import type { VdiskRecord } from '../meta/model.js';
import { DEFAULT_CONTAINER } from '../meta/operations.js';
import type { MetadataStore } from '../meta/store.js';
import type { ManagedNode } from './node.js';
import type { AttachmentView, AttachRequest, BeginExportRequest, BeginImportRequest, DetachView, FinishImportRequest } from './schemas.js';

export interface LeaseServiceOptions {
  readonly store: MetadataStore;
  readonly node: ManagedNode;
  /** For the client that holds the lease. */
  readonly attach: (vdiskName: string, wanted: AttachRequest) => Promise<AttachmentView>;
  readonly detach: (vdiskName: string) => Promise<DetachView>;
  /** To fewer bytes than it has, of which those behind have never been written. */
  readonly shrink: (vdiskName: string, sizeBytes: number) => Promise<unknown>;
  /** Throws where a node would not understand that. */
  readonly checkShrinks: () => Promise<void>;
  /** Of a container, null where it has none. Throws ERR_QUOTA where it is used up. */
  readonly openQuota: (container: string) => Promise<number | null>;
}

/** The management's side of an import or export: the client copies, over NBD, what it has leased here. */
export class LeaseService {
  constructor(private readonly options: LeaseServiceOptions) {}

  /** The size is rounded up to whole blocks. */
  async beginImport({ name, sizeBytes, container = DEFAULT_CONTAINER, host }: BeginImportRequest): Promise<AttachmentView> {
    const { store, node, checkShrinks, openQuota } = this.options;
    const quotaBytes = await openQuota(container);
    if (sizeBytes === undefined) await checkShrinks();
    const wanted = { name, sizeBytes: sizeBytes === undefined ? largest(quotaBytes) : wholeBlocks(sizeBytes), container };
    const { vdisk } = await beginImport(store, wanted, record => node.place(record));
    return this.#begun(vdisk, host, () => node.serve(vdisk));
  }

  async beginExport({ name, host }: BeginExportRequest): Promise<AttachmentView> {
    const { vdisk } = await beginExport(this.options.store, name);
    return this.#begun(vdisk, host);
  }

  renew(vdiskId: string): Promise<void> {
    return renewLease(this.options.store, vdiskId);
  }

  /** The client has written everything, and flushed it. `sizeBytes`: where only now it is known how much that is. */
  async finishImport(vdiskId: string, { sizeBytes }: FinishImportRequest): Promise<VdiskRecord> {
    const { store, shrink } = this.options;
    await this.#detach(vdiskId);
    const { vdisk } = await leasedVdisk(store, vdiskId);
    if (sizeBytes !== undefined && wholeBlocks(sizeBytes) < vdisk.sizeBytes) await shrink(vdisk.name, wholeBlocks(sizeBytes));
    return finishImport(store, vdiskId);
  }

  /** Also where the vdisk has been deleted meanwhile: then the lease alone is left. */
  async end(vdiskId: string): Promise<void> {
    // What is to be deleted may be what has filled the file system.
    this.options.node.makeRoom();
    await this.#detach(vdiskId).catch((error: unknown) => {
      if (!isLost(error)) throw error;
    });
    await endLease(this.options.store, vdiskId);
    this.options.node.remove();
  }

  /** Where that fails, nothing of it is left. */
  async #begun(vdisk: VdiskRecord, host: string | undefined, serve: () => Promise<void> = async () => {}): Promise<AttachmentView> {
    try {
      await serve();
      const attachment = await this.options.attach(vdisk.name, host === undefined ? {} : { host });
      if (attachment.exported) return attachment;
      const message = `the datapath of host "${attachment.host}" does not offer the vdisk: it does not run, or finds no path to it`;
      throw new GatepathError('retryable', 'ERR_NOT_EXPORTED', message, 'see to that datapath, or name a host whose datapath runs: --host');
    } catch (error) {
      // What cannot be undone now is undone when the lease lapses.
      await this.end(vdisk.id).catch(() => undefined);
      throw error;
    }
  }

  async #detach(vdiskId: string): Promise<void> {
    const { store, detach } = this.options;
    const { vdisk } = await leasedVdisk(store, vdiskId);
    if ((await attachmentsOf(store, vdiskId)).length > 0) await detach(vdisk.name);
  }
}

/** Of a vdisk whose container has this quota. */
function largest(quotaBytes: number | null): number {
  if (quotaBytes === null) return MAX_SIZE_BYTES;
  return Math.max(BLOCK_BYTES, Math.min(MAX_SIZE_BYTES, Math.floor(quotaBytes / BLOCK_BYTES) * BLOCK_BYTES));
}

const isLost = (error: unknown): boolean => error instanceof GatepathError && error.code === 'ERR_LEASE_LOST';
