import { Follower } from './follower.js';
import type { ReplicatedVdisk } from './groups.js';
import { containerRecord, groupRecord, keys, vdiskRecord, type ContainerRecord, type GroupRecord, type VdiskRecord } from './model.js';
import { parse } from './records.js';
import type { MetadataStore } from './store.js';

/** The vdisks of containers with more than one replica, those being deleted left out, for somebody who follows them: what has changed is read, and not all of them. */
export class ReplicatedVdisks {
  readonly #vdisks: Follower<VdiskRecord>;
  readonly #groups: Follower<GroupRecord>;
  readonly #containers: Follower<ContainerRecord>;
  /** Looked at with the next read: of them a part has been read, or is to be. */
  readonly #changed = new Set<string>();

  constructor(store: MetadataStore, onHint: () => void) {
    this.#vdisks = new Follower(store, keys.vdisks, item => livingVdisk(parse(vdiskRecord, item)), onHint);
    this.#groups = new Follower(store, keys.groups, item => parse(groupRecord, item), onHint);
    this.#containers = new Follower(store, keys.containers, item => parse(containerRecord, item), onHint);
  }

  /** Hint or no hint, it is looked at with the next read. */
  notice(vdiskId: string): void {
    this.#vdisks.notice(keys.vdisk(vdiskId));
  }

  /** Its record is there, and it is not being deleted, as it was read last. */
  isLiving(vdiskId: string): boolean {
    return this.#vdisks.get(keys.vdisk(vdiskId)) !== null;
  }

  /**
   * Those that have changed since the last time, at first all there are; and those of which no record is left. Each kind of record is read after the one that names it. Not to be called while it is under way;
   * when it throws, the next call gives what it would have given.
   */
  async read(): Promise<{ readonly changed: readonly ReplicatedVdisk[]; readonly ended: readonly string[] }> {
    for (const { before, after } of await this.#vdisks.read()) {
      this.#changed.add((after ?? before)!.id);
      // Made in one transaction with it, or before it: what has not been heard of is there.
      if (after !== null && this.#groups.get(keys.group(after.id)) === null) this.#groups.notice(keys.group(after.id));
      if (after !== null && this.#containerOf(after) === null) this.#containers.notice(keys.container(after.container));
    }
    for (const { before, after } of await this.#groups.read()) this.#changed.add((after ?? before)!.vdiskId);
    await this.#containers.read();
    const ids = [...this.#changed];
    this.#changed.clear();
    return {
      changed: ids.flatMap(id => this.#get(id) ?? []),
      ended: ids.filter(id => !this.isLiving(id) && this.#groups.get(keys.group(id)) === null),
    };
  }

  /** All, as they were read last. */
  *all(): IterableIterator<ReplicatedVdisk> {
    for (const { id } of this.#vdisks.values()) {
      const one = this.#get(id);
      if (one !== null) yield one;
    }
  }

  close(): void {
    for (const one of [this.#vdisks, this.#groups, this.#containers]) one.close();
  }

  #containerOf({ container }: VdiskRecord): ContainerRecord | null {
    return this.#containers.get(keys.container(container));
  }

  #get(id: string): ReplicatedVdisk | null {
    const [vdisk, group] = [this.#vdisks.get(keys.vdisk(id)), this.#groups.get(keys.group(id))];
    const container = vdisk === null ? null : this.#containerOf(vdisk);
    if (vdisk === null || group === null || container === null || container.replicationFactor === 1) return null;
    const { replicationFactor, minMembers, durability } = container;
    return { vdisk, group, replicationFactor, minMembers, durability };
  }
}

function livingVdisk(vdisk: VdiskRecord): VdiskRecord | null {
  return vdisk.deleting ? null : vdisk;
}
