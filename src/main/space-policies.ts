import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../base/log.js';
import { Follower, type Change } from '../meta/follower.js';
import { isUnfinishedImport } from '../meta/leases.js';
import { containerRecord, keys, vdiskRecord, type ContainerRecord, type EnospcPolicy, type VdiskRecord } from '../meta/model.js';
import { parse } from '../meta/records.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore } from '../meta/store.js';
import type { VdiskSpace, VdiskUsage } from '../stargate/messages.js';
import { deal } from './quota.js';

export interface SpacePoliciesOptions {
  readonly store: MetadataStore;
  readonly log: Logger;
  /** To the shard of the vdisk. */
  readonly tell: (space: VdiskSpace) => void;
  /** Of the vdisks that are controlled here; null: a shard does not answer now. */
  readonly usage: () => Promise<readonly VdiskUsage[] | null>;
  /** Of the vdisks that other nodes control. */
  readonly usedElsewhere: () => Promise<ReadonlyMap<string, UsedElsewhere>>;
}

export interface UsedElsewhere {
  readonly usedBytes: number;
  /** What it may have used up by the time that its node counts again. */
  readonly reservedBytes: number;
}

/** How often what the vdisks of a container with a quota use is counted. */
const COUNT_MS = 500;
const RETRY_MS = 500;

/**
 * What the vdisks of this node may take: the policies of their containers as soon as they are changed, and quotas. Of a quota what is left is counted and dealt to the vdisks again and again; a vdisk
 * may take what it was dealt before it is counted the next time. So one node never goes beyond a quota. Several may, by what was written through the others since they said last what they use.
 */
export class SpacePolicies {
  readonly #containers: Follower<ContainerRecord>;
  /** Those being deleted left out. */
  readonly #vdisks: Follower<VdiskRecord>;
  /** Container → its vdisks. */
  readonly #inside = new Map<string, Map<string, VdiskRecord>>();
  /** Read, and not looked at yet: what has to be read beside it has not been. */
  readonly #changed: Change<VdiskRecord>[] = [];
  readonly #told = new Map<string, VdiskSpace>();
  readonly #reserved = new Map<string, number>();
  /** What it used when it was last counted. */
  readonly #used = new Map<string, number>();
  readonly #elsewhere = new Map<string, UsedElsewhere>();
  #isFollowing = false;
  #reading: Promise<void> = Promise.resolve();
  #round = 0;
  #timer: NodeJS.Timeout | null = null;
  readonly #look = new Rerun(
    async () => {
      await this.#read();
      await this.#count();
    },
    async error => {
      this.options.log.log('warn', 'what containers allow is read again later', { error: String(error) });
      await delay(RETRY_MS);
      this.#look.ask();
    },
  );

  constructor(private readonly options: SpacePoliciesOptions) {
    const { store } = options;
    const onHint = (): void => {
      if (this.#isFollowing) this.#look.ask();
    };
    this.#containers = new Follower(store, keys.containers, item => parse(containerRecord, item), onHint);
    this.#vdisks = new Follower(store, keys.vdisks, item => livingVdisk(parse(vdiskRecord, item)), onHint);
  }

  /** Before the vdisks are served: those with a quota take nothing until they are counted. */
  begin(): Promise<void> {
    return this.#read();
  }

  /** Before a new vdisk is served. */
  admit({ id, container }: VdiskRecord): Promise<void> {
    this.#vdisks.notice(keys.vdisk(id));
    this.#containers.notice(keys.container(container));
    return this.#read();
  }

  /** From here on what is changed is noticed, and what is used is counted. */
  follow(): void {
    this.#isFollowing = true;
    this.#look.ask();
  }

  close(): void {
    this.#look.close();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#containers.close();
    this.#vdisks.close();
  }

  /** What it may have used up by the next count; null: it has no quota, or is not controlled here. */
  reservedBytes(vdiskId: string): number | null {
    return this.#reserved.get(vdiskId) ?? null;
  }

  /** What the vdisks of a container with a quota used together when they were last counted; those that have been deleted since left out. */
  async usedBytes(container: string): Promise<number> {
    await this.#read();
    const ids = [...(this.#inside.get(container)?.keys() ?? [])];
    return ids.reduce((sum, id) => sum + (this.#used.get(id) ?? this.#elsewhere.get(id)?.usedBytes ?? 0), 0);
  }

  /** One after the other. */
  #read(): Promise<void> {
    this.#reading = this.#reading.catch(() => undefined).then(() => this.#readNow());
    return this.#reading;
  }

  async #readNow(): Promise<void> {
    this.#changed.push(...(await this.#vdisks.read()));
    const changed = [...this.#changed];
    // One whose container has not been heard of: it was made before the vdisk.
    for (const { after } of changed)
      if (after !== null && this.#containerOf(after) === null) this.#containers.notice(keys.container(after.container));
    const containers = await this.#containers.read();
    this.#changed.length = 0;
    for (const { before, after } of changed) {
      if (before !== null) this.#leave(before);
      if (after !== null) this.#enter(after);
    }
    for (const { before, after } of containers) {
      if (before?.enospc === after?.enospc && before?.quotaBytes === after?.quotaBytes) continue;
      for (const vdisk of this.#inside.get((after ?? before!).name)?.values() ?? []) this.#tellPolicy(vdisk);
    }
    for (const { before, after } of changed) {
      if (after !== null) this.#tellPolicy(after);
      else for (const of of [this.#told, this.#reserved, this.#used, this.#elsewhere]) of.delete(before!.id);
    }
  }

  #containerOf({ container }: VdiskRecord): ContainerRecord | null {
    return this.#containers.get(keys.container(container));
  }

  #enter(vdisk: VdiskRecord): void {
    const inside = this.#inside.get(vdisk.container) ?? new Map<string, VdiskRecord>();
    this.#inside.set(vdisk.container, inside.set(vdisk.id, vdisk));
  }

  #leave({ id, container }: VdiskRecord): void {
    const inside = this.#inside.get(container);
    inside?.delete(id);
    if (inside?.size === 0) this.#inside.delete(container);
  }

  #tellPolicy(vdisk: VdiskRecord): void {
    const { id } = vdisk;
    const { quotaBytes = null } = this.#containerOf(vdisk) ?? {};
    const onFull = this.#onFull(vdisk);
    const before = this.#told.get(id);
    const isLimited = before !== undefined && before.limitBytes !== Infinity;
    if (quotaBytes === null) this.#reserved.delete(id);
    if (quotaBytes !== null && isLimited) this.#tell({ ...before, onFull });
    else if (quotaBytes !== null) this.#tell({ vdiskId: id, onFull, limitBytes: 0, endBytes: Infinity });
    else this.#tell({ vdiskId: id, onFull, limitBytes: Infinity, endBytes: Infinity });
  }

  /** An import is refused what there is no space for, and so ends: nothing waits behind it but its client. */
  #onFull(vdisk: VdiskRecord): EnospcPolicy {
    return isUnfinishedImport(vdisk) ? 'error' : (this.#containerOf(vdisk)?.enospc ?? 'wait');
  }

  async #count(): Promise<void> {
    const limited = [...this.#containers.values()].filter(({ quotaBytes }) => quotaBytes !== null);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (limited.length === 0 || this.#look.isClosed) return;
    try {
      for (const [id, used] of await this.options.usedElsewhere()) this.#elsewhere.set(id, used);
      const usage = await this.options.usage();
      if (usage !== null) this.#deal(limited, new Map(usage.map(one => [one.vdiskId, one])));
    } finally {
      this.#timer = setTimeout(() => void this.#count().catch(() => undefined), COUNT_MS);
    }
  }

  #deal(limited: readonly ContainerRecord[], usage: ReadonlyMap<string, VdiskUsage>): void {
    this.#round++;
    for (const { name, quotaBytes } of limited) {
      const inside = [...(this.#inside.get(name)?.values() ?? [])];
      const here = inside.filter(({ id }) => usage.has(id));
      const others = inside.filter(({ id }) => !usage.has(id));
      for (const { id } of others) for (const of of [this.#reserved, this.#used]) of.delete(id);
      const counted = here.map(({ id }) => {
        const { usedBytes, takenBytes } = usage.get(id)!;
        return { usedBytes, openBytes: Math.max(0, (this.#told.get(id)?.limitBytes ?? 0) - takenBytes) };
      });
      const reservedBytes = others.reduce((sum, { id }) => sum + (this.#elsewhere.get(id)?.reservedBytes ?? 0), 0);
      const grants = deal(quotaBytes!, counted, { reservedBytes, vdisks: others.length }, this.#round);
      here.forEach((vdisk, i) => {
        const vdiskId = vdisk.id;
        const { usedBytes, takenBytes } = usage.get(vdiskId)!;
        const { bytes, endBytes } = grants[i]!;
        this.#used.set(vdiskId, usedBytes);
        this.#reserved.set(vdiskId, usedBytes + Math.max(bytes, counted[i]!.openBytes));
        this.#tell({ vdiskId, onFull: this.#onFull(vdisk), limitBytes: takenBytes + bytes, endBytes: takenBytes + endBytes });
      });
    }
  }

  #tell(space: VdiskSpace): void {
    const before = this.#told.get(space.vdiskId);
    const isSame = before?.onFull === space.onFull && before.limitBytes === space.limitBytes && before.endBytes === space.endBytes;
    if (isSame || this.#look.isClosed) return;
    this.#told.set(space.vdiskId, space);
    this.options.tell(space);
  }
}

function livingVdisk(vdisk: VdiskRecord): VdiskRecord | null {
  return vdisk.deleting ? null : vdisk;
}
