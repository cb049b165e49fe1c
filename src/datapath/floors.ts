import { keys, vdiskRecord } from '../meta/model.js';
import type { MetadataStore } from '../meta/store.js';
import { createTermFloor, createTermFloorAt, termOf } from './floor.js';
import { FLOORS_LOOKED_AT } from './limits.js';

/** Rule 17's floors, kept over detach and attach: an old controller stays an old one. Those of vdisks that are no more go with time: whenever there is a new one, some are looked at. */
export class TermFloors {
  /** Those that have waited longest for a look are first. */
  readonly #floors = new Map<string, SharedArrayBuffer>();
  /** The look that was begun last; for tests. */
  looked: Promise<unknown> = Promise.resolve();

  /** `isInUse`: it has an export. `terms`: what the process before this one knew. */
  constructor(
    private readonly store: Pick<MetadataStore, 'get'>,
    private readonly isInUse: (vdiskId: string) => boolean,
    terms: Readonly<Record<string, number>> = {},
  ) {
    for (const [vdiskId, term] of Object.entries(terms)) this.#floors.set(vdiskId, createTermFloorAt(term));
  }

  of(vdiskId: string): SharedArrayBuffer {
    const known = this.#floors.get(vdiskId);
    if (known !== undefined) return known;
    const made = createTermFloor();
    const oldest: string[] = [];
    for (const id of this.#floors.keys()) if (oldest.push(id) === FLOORS_LOOKED_AT) break;
    this.#floors.set(vdiskId, made);
    this.looked = Promise.all(oldest.map(id => this.#look(id)));
    return made;
  }

  get terms(): Record<string, number> {
    return Object.fromEntries([...this.#floors].map(([vdiskId, memory]) => [vdiskId, termOf(memory)]));
  }

  async #look(vdiskId: string): Promise<void> {
    const floor = this.#floors.get(vdiskId)!;
    this.#floors.delete(vdiskId);
    this.#floors.set(vdiskId, floor);
    // An id is never used again: what is gone, or on its way out, is not attached any more.
    const isGone = await this.store.get(keys.vdisk(vdiskId)).then(
      found => found === null || vdiskRecord.safeParse(found.value).data?.deleting === true,
      () => false,
    );
    if (isGone && !this.isInUse(vdiskId)) this.#floors.delete(vdiskId);
  }
}
