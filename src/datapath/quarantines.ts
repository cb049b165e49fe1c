import { randomUUID } from 'node:crypto';
import type { Logger } from '../base/log.js';
import type { GroupRecord, Quarantine } from '../meta/model.js';
import { accusedInWords, quarantineOf, quarantineVdisk } from '../meta/quarantine.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore } from '../meta/store.js';
import { SharedTermFloor } from './floor.js';
import { ATTACH_RETRY_MS, MAX_ACCUSED } from './limits.js';
import type { Accusation } from './messages.js';

export interface QuarantinesOptions {
  readonly store: MetadataStore;
  readonly host: string;
  readonly log: Logger;
  /** What the shards' sessions of the vdisk look at. */
  readonly floorOf: (vdiskId: string) => SharedArrayBuffer;
}

/**
 * The vdisks of this datapath that are held (rule 19). What a shard has found out holds at once, and is written into the group's record; what stands there holds here too,
 * whoever has written it. Only a release that the record says lets go: a record that says nothing may be older than what is known here. Runs on the main thread.
 */
export class Quarantines {
  readonly #held = new Map<string, Quarantine>();
  /** Those that the record is to say, or to say more of. */
  readonly #untold = new Set<string>();
  /** Attached, and the record has not been read yet. */
  readonly #unread = new Set<string>();
  readonly #telling = new Rerun(
    () => this.#tell(),
    ({ message }) => {
      this.options.log.log('warn', 'a quarantine is written into the metadata later', { error: message });
      this.#telling.askLater(ATTACH_RETRY_MS);
    },
  );

  constructor(private readonly options: QuarantinesOptions) {}

  /** In words; null: its requests go their way. */
  problemOf(vdiskId: string): string | null {
    const quarantine = this.#held.get(vdiskId);
    return quarantine === undefined ? null : accusedInWords(quarantine);
  }

  /** Nobody asks a controller before it is known that this may be done: another datapath may have been here before. */
  attached(vdiskId: string): void {
    if (this.#held.has(vdiskId)) return;
    this.#unread.add(vdiskId);
    this.#floorOf(vdiskId).hold();
  }

  detached(vdiskId: string): void {
    this.#unread.delete(vdiskId);
    this.#untold.delete(vdiskId);
    this.#held.delete(vdiskId);
    this.#floorOf(vdiskId).release();
  }

  /** A shard holds the vdisk since then; others may say what their sessions had. */
  accused({ vdiskId, requests, nodes }: Accusation): void {
    const { host } = this.options;
    const there = this.#held.get(vdiskId);
    if (there === undefined) {
      this.#held.set(vdiskId, { id: randomUUID(), at: new Date().toISOString(), host, requests: [...requests], nodes: [...nodes] });
    } else if (there.host !== host || there.requests.length === MAX_ACCUSED) return;
    else this.#held.set(vdiskId, { ...there, requests: [...there.requests, ...requests].slice(0, MAX_ACCUSED) });
    this.#untold.add(vdiskId);
    this.#telling.ask();
  }

  /** The group's record has been read. */
  read(vdiskId: string, record: GroupRecord | null): void {
    const [there, own] = [quarantineOf(record), this.#held.get(vdiskId)];
    const isFirst = this.#unread.delete(vdiskId);
    if (there !== null) return this.#hold(vdiskId, there);
    if (own === undefined) {
      if (isFirst) this.#floorOf(vdiskId).release();
    } else if (record?.quarantine?.id === own.id) this.#release(vdiskId);
  }

  close(): void {
    this.#telling.close();
  }

  #hold(vdiskId: string, quarantine: Quarantine): void {
    const own = this.#held.get(vdiskId);
    if (own?.id === quarantine.id) return;
    this.#untold.delete(vdiskId);
    this.#held.set(vdiskId, quarantine);
    this.#floorOf(vdiskId).hold();
    this.options.log.log('error', `a vdisk is ${accusedInWords(quarantine)}`, { vdiskId, host: quarantine.host });
  }

  #release(vdiskId: string): void {
    this.#untold.delete(vdiskId);
    this.#held.delete(vdiskId);
    this.#floorOf(vdiskId).release();
    this.options.log.log('info', 'a vdisk is released from its quarantine: its requests go on', { vdiskId });
  }

  async #tell(): Promise<void> {
    for (const vdiskId of [...this.#untold]) {
      const wanted = this.#held.get(vdiskId)!;
      const counts = await quarantineVdisk(this.options.store, vdiskId, wanted);
      // Told more meanwhile: once more.
      if (this.#held.get(vdiskId) === wanted) this.#untold.delete(vdiskId);
      if (counts === null || counts.id === wanted.id) continue;
      this.#hold(vdiskId, counts);
    }
    if (this.#untold.size > 0) this.#telling.ask();
  }

  #floorOf(vdiskId: string): SharedTermFloor {
    return new SharedTermFloor(this.options.floorOf(vdiskId));
  }
}
