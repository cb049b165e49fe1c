import type { Logger } from '../base/log.js';
import { leaveDeletedVdisk } from '../meta/groups.js';
import { Follower } from '../meta/follower.js';
import { keys, vdiskRecord, type GroupMember, type VdiskRecord } from '../meta/model.js';
import { concerns } from '../meta/nodes.js';
import { parse } from '../meta/records.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore, Watch } from '../meta/store.js';

export interface DeletionsOptions {
  readonly store: MetadataStore;
  readonly self: GroupMember;
  readonly log: Logger;
  /** Gives the space back that the vdisk takes here, if any. Not called again for one that is under way, or done. */
  readonly remove: (vdiskId: string) => Promise<void>;
  readonly retryMs?: number;
}

const RETRY_MS = 5_000;

/**
 * Follows which vdisks are marked as being deleted: through whichever node, and before this process started. Each node removes what it has of them, then leaves
 * the group's record; the last one forgets the vdisk. A node that is away does so when it is back: until then the record stays. One that will not come
 * back holds it up only as long as the metadata knows it as a node.
 */
export class Deletions {
  /** Nothing is left of them here. */
  readonly #removed = new Set<string>();
  readonly #under = new Set<string>();
  readonly #told = new Set<string>();
  readonly #vdisks: Follower<VdiskRecord>;
  readonly #deleting = new Map<string, VdiskRecord>();
  readonly #watch: Watch;
  /** Something has changed while a deletion was under way. */
  #isMissed = false;
  readonly #look = new Rerun(
    () => this.#deleteAll(),
    error => {
      this.options.log.log('warn', 'deleted vdisks are looked for later', { error: String(error) });
      this.#later();
    },
  );

  constructor(private readonly options: DeletionsOptions) {
    const { store } = options;
    this.#vdisks = new Follower(
      store,
      keys.vdisks,
      item => parse(vdiskRecord, item),
      () => this.check(),
    );
    this.#watch = store.watch(keys.nodes, () => this.check());
    this.check();
  }

  check(): void {
    this.#look.ask();
  }

  close(): void {
    this.#look.close();
    this.#vdisks.close();
    this.#watch.close();
  }

  async #deleteAll(): Promise<void> {
    for (const { before, after } of await this.#vdisks.read()) {
      const { id } = after ?? before!;
      if (after?.deleting === true) this.#deleting.set(id, after);
      else for (const of of [this.#deleting, this.#removed, this.#told]) of.delete(id);
    }
    for (const vdisk of this.#deleting.values()) void this.#delete(vdisk);
  }

  async #delete(vdisk: VdiskRecord): Promise<void> {
    const { id } = vdisk;
    if (this.#under.has(id)) {
      this.#isMissed = true;
      return;
    }
    this.#under.add(id);
    try {
      if (!this.#removed.has(id)) await this.options.remove(id);
      this.#removed.add(id);
      await this.#leave(vdisk);
    } catch (error) {
      if (!this.#look.isClosed)
        this.options.log.log('error', 'a deleted vdisk still takes space', { vdisk: vdisk.name, error: String(error) });
      this.#later();
    }
    this.#under.delete(id);
    if (!this.#isMissed) return;
    this.#isMissed = false;
    this.check();
  }

  async #leave({ id, name }: VdiskRecord): Promise<void> {
    const { store, self, log } = this.options;
    // By their keys: one whose record is damaged is a node, too.
    const nodes = new Set((await store.keys(keys.nodes)).map(key => key.slice(keys.nodes.length)));
    const waitsFor = await leaveDeletedVdisk(store, id, one => concerns({ members: [one] }, self) || !nodes.has(one.node));
    if (waitsFor.length === 0 || this.#told.has(id)) return;
    this.#told.add(id);
    log.log('info', 'a deleted vdisk is still on other nodes', { vdisk: name, nodes: waitsFor });
  }

  #later(): void {
    this.#look.askLater(this.options.retryMs ?? RETRY_MS);
  }
}
