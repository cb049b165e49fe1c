import type { Logger } from '../base/log.js';
import { Follower } from '../meta/follower.js';
import { attachmentRecord, keys, type AttachmentRecord } from '../meta/model.js';
import { parse } from '../meta/records.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore } from '../meta/store.js';
import { ATTACH_RETRY_MS, MAX_EXPORTS } from './limits.js';

export interface AttachmentListener {
  onAttached(attachment: AttachmentRecord): void;
  /** Also before `onAttached` of the same vdisk with a newer generation. */
  onDetached(attachment: AttachmentRecord): void;
  /** The same attachment, shared no longer: it is to hold the vdisk. */
  onActivated(attachment: AttachmentRecord): void;
  /** Same attachment, another size. */
  onResized(attachment: AttachmentRecord): void;
}

/**
 * Follows the desired state of one host: the attachments in the metadata store. What counts is what was read there. While the store does not answer, what is
 * attached stays attached. Runs on the main thread.
 */
export class AttachmentWatcher {
  readonly #attached = new Map<string, AttachmentRecord>();
  readonly #records: Follower<AttachmentRecord>;
  /** Keys of records that are damaged. */
  readonly #toldDamaged = new Set<string>();
  #isListed = false;
  /** There are more than are followed. */
  #isOverfull = false;
  #unreachable = false;
  /** Reads until nothing has changed since that was asked for. */
  readonly #look = new Rerun(
    () => this.#refresh(),
    error => this.#later(error),
  );

  constructor(
    store: MetadataStore,
    private readonly host: string,
    private readonly listener: AttachmentListener,
    private readonly log: Logger,
    /** What the process before this one has exported: it stays until the store says otherwise. */
    known: readonly AttachmentRecord[] = [],
  ) {
    for (const attachment of known) {
      this.#attached.set(attachment.vdiskId, attachment);
      this.listener.onAttached(attachment);
    }
    this.#records = new Follower(
      store,
      keys.attachmentsOf(host),
      item => parse(attachmentRecord, item),
      () => this.#look.ask(),
    );
    this.#look.ask();
  }

  /** Those that the listener has been told of. */
  get attachments(): readonly AttachmentRecord[] {
    return [...this.#attached.values()];
  }

  close(): void {
    this.#look.close();
    this.#records.close();
  }

  async #refresh(): Promise<void> {
    const changes = await this.#records.read();
    this.#unreachable = false;
    if (this.#look.isClosed) return;
    this.#tellDamaged();
    const wanted = new Map(changes.map(({ before, after }) => [(after ?? before!).vdiskId, after]));
    for (const vdiskId of this.#isListed ? [] : this.#attached.keys())
      if (!wanted.has(vdiskId) && !this.#records.damaged.has(keys.attachment(this.host, vdiskId))) wanted.set(vdiskId, null);
    this.#isListed = true;
    this.#apply(wanted);
  }

  /** What they are of stays as it was: attached, or not. */
  #tellDamaged(): void {
    const { damaged } = this.#records;
    for (const key of [...this.#toldDamaged]) if (!damaged.has(key)) this.#toldDamaged.delete(key);
    for (const [key, error] of damaged) {
      if (this.#toldDamaged.has(key)) continue;
      this.#toldDamaged.add(key);
      this.log.log('error', 'an attachment record cannot be read: what it is of stays as it was', { error });
    }
  }

  #later(error: Error): void {
    if (this.#look.isClosed) return;
    if (!this.#unreachable)
      this.log.log('warn', 'the metadata store does not answer; attachments stay as they are', { error: error.message });
    this.#unreachable = true;
    this.#look.askLater(ATTACH_RETRY_MS);
  }

  /** Null: it is attached no longer. */
  #apply(wanted: ReadonlyMap<string, AttachmentRecord | null>): void {
    for (const [vdiskId, attachment] of wanted) {
      const old = this.#attached.get(vdiskId);
      if (old === undefined || attachment?.generation === old.generation) continue;
      this.#attached.delete(vdiskId);
      this.listener.onDetached(old);
    }
    for (const attachment of wanted.values()) if (attachment !== null) this.#follow(attachment);
    if (this.#attached.size < MAX_EXPORTS && this.#isOverfull) this.#fill();
  }

  #follow(attachment: AttachmentRecord): void {
    const { vdiskId } = attachment;
    const old = this.#attached.get(vdiskId);
    if (old === undefined && this.#attached.size === MAX_EXPORTS) {
      this.#isOverfull = true;
      this.log.log('error', `more than ${MAX_EXPORTS} attachments; vdisk "${attachment.vdiskName}" is ignored`);
      return;
    }
    this.#attached.set(vdiskId, attachment);
    if (old === undefined) return this.listener.onAttached(attachment);
    if (old.shared && !attachment.shared) this.listener.onActivated(attachment);
    if (old.sizeBytes !== attachment.sizeBytes) this.listener.onResized(attachment);
  }

  /** There is room for those that were too many. */
  #fill(): void {
    this.#isOverfull = false;
    for (const attachment of this.#records.values()) if (!this.#attached.has(attachment.vdiskId)) this.#follow(attachment);
  }
}
