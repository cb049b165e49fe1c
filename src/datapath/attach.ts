import type { Logger } from '../base/log.js';
import { attachmentRecord, keys, type AttachmentRecord } from '../meta/model.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore, Watch } from '../meta/store.js';
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
 * Follows the desired state of one host: the attachments in the metadata store. A watch is a hint; what counts is the list. While the
 * store does not answer, what is attached stays attached. Runs on the main thread.
 */
export class AttachmentWatcher {
  readonly #attached = new Map<string, AttachmentRecord>();
  readonly #prefix: string;
  readonly #watch: Watch;
  #unreachable = false;
  /** Lists until nothing has changed since the list was asked for. */
  readonly #list = new Rerun(
    () => this.#refresh(),
    error => this.#later(error),
  );

  constructor(
    private readonly store: MetadataStore,
    host: string,
    private readonly listener: AttachmentListener,
    private readonly log: Logger,
    /** What the process before this one has exported: it stays until the store says otherwise. */
    known: readonly AttachmentRecord[] = [],
  ) {
    for (const attachment of known) {
      this.#attached.set(attachment.vdiskId, attachment);
      this.listener.onAttached(attachment);
    }
    this.#prefix = keys.attachmentsOf(host);
    this.#watch = store.watch(this.#prefix, () => this.#list.ask());
    this.#list.ask();
  }

  /** Those that the listener has been told of. */
  get attachments(): readonly AttachmentRecord[] {
    return [...this.#attached.values()];
  }

  close(): void {
    this.#list.close();
    this.#watch.close();
  }

  async #refresh(): Promise<void> {
    const { items } = await this.store.range(this.#prefix);
    if (!this.#list.isClosed) this.#apply(items.map(item => item.value));
    this.#unreachable = false;
  }

  #later(error: Error): void {
    if (this.#list.isClosed) return;
    if (!this.#unreachable)
      this.log.log('warn', 'the metadata store does not answer; attachments stay as they are', { error: error.message });
    this.#unreachable = true;
    this.#list.askLater(ATTACH_RETRY_MS);
  }

  #apply(values: readonly unknown[]): void {
    const wanted = new Map<string, AttachmentRecord>();
    for (const value of values) {
      const parsed = attachmentRecord.safeParse(value);
      if (!parsed.success) this.log.log('error', 'an attachment record is not readable; it is ignored', { error: parsed.error.message });
      else if (wanted.size === MAX_EXPORTS) this.log.log('error', `more than ${MAX_EXPORTS} attachments; the others are ignored`);
      else wanted.set(parsed.data.vdiskId, parsed.data);
    }
    for (const [vdiskId, old] of this.#attached) {
      if (wanted.get(vdiskId)?.generation === old.generation) continue;
      this.#attached.delete(vdiskId);
      this.listener.onDetached(old);
    }
    for (const [vdiskId, attachment] of wanted) {
      const old = this.#attached.get(vdiskId);
      this.#attached.set(vdiskId, attachment);
      if (old === undefined) {
        this.listener.onAttached(attachment);
        continue;
      }
      if (old.shared && !attachment.shared) this.listener.onActivated(attachment);
      if (old.sizeBytes !== attachment.sizeBytes) this.listener.onResized(attachment);
    }
  }
}
