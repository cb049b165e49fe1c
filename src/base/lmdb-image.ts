/**
 * Reads an LMDB data file page by page, as it lies on the disk, and checks its structure: for the offline verifiers. The library itself trusts what it maps into
 * memory: a damaged page ends the process, and opening a file writes to the one beside it. Layout: mdb.c of lmdb 3.5 (data version 2, little endian).
 *
 * ```
 * page    u64 number, u64 transaction, u16 pad, u16 flags, u16 lower, u16 upper (an overflow page: u32 count of pages); then at 24:
 * meta    u32 magic, u32 version, u64 address, u64 map size, two trees (free pages, main), u64 last page, u64 transaction
 * tree    u32 pad (of the first: the page size), u16 flags, u16 depth, u64 × 3 pages (branch, leaf, overflow), u64 entries, u64 root
 * others  u16 × n offsets of nodes from byte 24 on, ascending by key, n = lower / 2
 * node    u32 size of the data, u16 flags, u16 size of the key, key, data (flag 1: u64 page, u64 transaction, u64 count of pages, where the data is)
 * branch  node whose first 6 bytes are the page's number; the first one's key counts for nothing
 * ```
 */
export const LmdbAt = { pageNumber: 0, transaction: 8, flags: 18, lower: 20, upper: 22, header: 24 } as const;
export const LmdbMetaAt = { magic: 24, version: 28, mapBytes: 40, free: 48, main: 96, lastPage: 144, transaction: 152 } as const;
const TreeAt = { flags: 4, depth: 6, branch: 8, leaf: 16, overflow: 24, entries: 32, root: 40 } as const;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const BRANCH = 1;
const LEAF = 2;
const OVERFLOW = 4;
const META = 8;
const BIG_DATA = 1;
const MAX_KEY_BYTES = 2048;
const MAX_DEPTH = 32;
const NODE_BYTES = 8;
const BIG_DATA_BYTES = 24;
/** Of one value. */
const MAX_DATA_PAGES = 65_536;
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 65_536;
/** Branch pages that are kept for look-ups. */
const MAX_KEPT_PAGES = 256;

/** Up to `lengthBytes` from `atBytes` on; less at the end of the file. */
export type ReadBytes = (atBytes: number, lengthBytes: number) => Uint8Array;

export interface LmdbDamage {
  /** -1: the file as a whole. */
  readonly page: number;
  readonly message: string;
  /** The library does not look at what is wrong. */
  readonly isUnused?: true;
}

interface Tree {
  readonly flags: number;
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
  readonly entries: number;
  /** -1: empty. */
  readonly root: number;
}

interface Meta {
  readonly page: number;
  readonly transaction: number;
  readonly lastPage: number;
  readonly free: Tree;
  readonly main: Tree;
}

interface Node {
  readonly key: Uint8Array;
  /** Of a branch. */
  readonly child: number;
  readonly flags: number;
  /** Offset in the page, and length, of a leaf's data. */
  readonly at: number;
  readonly lengthBytes: number;
}

interface Counts {
  branch: number;
  leaf: number;
  overflow: number;
  entries: number;
}

/** A key that separates two pages in a branch is found again as the first one of the second. */
interface LastKey {
  key: Uint8Array | null;
  isSeparator: boolean;
}

export type LmdbEntry = readonly [key: Uint8Array, value: Uint8Array];

export interface LmdbLeaf {
  readonly page: number;
  readonly entries: readonly LmdbEntry[];
}

export class LmdbImage {
  readonly #damage: LmdbDamage[] = [];
  readonly #kept = new Map<number, Uint8Array>();
  /** Pages in use, by any of the trees: two users of one page destroy each other's data. */
  readonly #used = new Set<number>();
  readonly pageBytes: number;
  readonly #meta: Meta | null;

  constructor(
    readonly read: ReadBytes,
    readonly sizeBytes: number,
  ) {
    this.pageBytes = this.#findPageBytes();
    this.#meta = this.#pickMeta();
  }

  /** What has been found so far; all of it after {@link check}. */
  get damage(): readonly LmdbDamage[] {
    return this.#damage;
  }

  /** Reads all of it, once. What is damaged is left out, and told in {@link damage}. */
  *check(): Generator<LmdbEntry> {
    if (this.#meta === null) return;
    const { main, free, lastPage } = this.#meta;
    if (this.sizeBytes < this.pageBytes * 2) this.#tell(-1, 'the file is too short');
    const listed: (readonly [Uint8Array, Uint8Array])[] = [];
    yield* this.#checkTree('main', main);
    for (const entry of this.#checkTree('free', free)) listed.push(entry);
    for (const [, list] of listed) this.#checkFree(list, lastPage);
    const pages = lastPage - 1;
    if (this.#damage.length === 0 && this.#used.size !== pages)
      this.#tell(this.#meta.page, `${this.#used.size} pages are in use or free, of ${pages}`);
  }

  /** As far as pages are in use, or were. */
  get usedBytes(): number {
    return this.#meta === null ? 0 : (this.#meta.lastPage + 1) * this.pageBytes;
  }

  /**
   * The main tree's leaves in order, from the one on that may have `from`, each checked by itself as by {@link check}: damage is told in {@link damage}. `position.next` is a key that
   * comes behind the leaf that was given last; null: none does. It is known when the leaf is given.
   */
  *pages(from: Uint8Array, position: { next: Uint8Array | null }): Generator<LmdbLeaf> {
    if (this.#meta === null || this.#meta.main.root < 0) return;
    yield* this.#leaves(this.#meta.main.root, this.#meta.main.depth, from, null, position);
  }

  /** `end`: a key that lies behind the page. */
  *#leaves(
    number: number,
    depth: number,
    from: Uint8Array,
    end: Uint8Array | null,
    position: { next: Uint8Array | null },
  ): Generator<LmdbLeaf> {
    position.next = end;
    const page = depth > 0 ? this.#pageOf(number) : null;
    const nodes = page === null ? null : this.#nodesOf(page, number, true);
    if (page === null || nodes === null) return yield { page: number, entries: [] };
    const isBranch = (viewOf(page).getUint16(LmdbAt.flags, true) & BRANCH) !== 0;
    if (isBranch !== depth > 1) {
      this.#tell(number, `it is ${isBranch ? 'a branch' : 'a leaf'}, ${depth - 1} levels above the leaves`);
      return yield { page: number, entries: [] };
    }
    for (let i = isBranch ? 2 : 1; i < nodes.length; i++)
      if (compare(nodes[i - 1]!.key, nodes[i]!.key) >= 0) this.#tell(number, 'its keys are not in order');
    if (!isBranch) {
      const data = nodes.map(node => this.#dataOf(page, node, number, null));
      if (data.includes(null)) this.#tell(number, 'the data of an entry cannot be read');
      return yield { page: number, entries: nodes.flatMap(({ key }, i) => (data[i] === null ? [] : [[key, data[i]!] as const])) };
    }
    for (let i = 0; i < nodes.length; i++) {
      const next = nodes[i + 1]?.key ?? null;
      if (next !== null && compare(next, from) <= 0) continue;
      yield* this.#leaves(nodes[i]!.child, depth - 1, from, next ?? end, position);
    }
  }

  /** Entries from `start` up to and without `end`, ascending. Damaged pages are passed over. */
  *range(start: Uint8Array, end: Uint8Array): Generator<LmdbEntry> {
    if (this.#meta === null || this.#meta.main.root < 0) return;
    yield* this.#rangeIn(this.#meta.main.root, start, end, 0);
  }

  *#rangeIn(number: number, start: Uint8Array, end: Uint8Array, depth: number): Generator<LmdbEntry> {
    const page = depth < MAX_DEPTH ? this.#keptPage(number) : null;
    if (page === null) return;
    const nodes = this.#nodesOf(page, number, false);
    if (nodes === null) return;
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i]!;
      if (node.child >= 0) {
        const next = nodes[i + 1];
        if (next !== undefined && compare(next.key, start) <= 0) continue;
        if (i > 0 && compare(node.key, end) >= 0) return;
        yield* this.#rangeIn(node.child, start, end, depth + 1);
      } else {
        if (compare(node.key, start) < 0) continue;
        if (compare(node.key, end) >= 0) return;
        const data = this.#dataOf(page, node, number, null);
        if (data !== null) yield [node.key, data];
      }
    }
  }

  // ---------------------------------------------------------------- meta pages

  #findPageBytes(): number {
    for (const at of [0, 4096]) {
      const page = this.read(at, MIN_PAGE_BYTES);
      if (page.length < MIN_PAGE_BYTES) continue;
      const bytes = viewOf(page).getUint32(LmdbMetaAt.free, true);
      if (isPageBytes(bytes) && viewOf(page).getUint32(LmdbMetaAt.magic, true) === MAGIC) return bytes;
    }
    return 4096;
  }

  #pickMeta(): Meta | null {
    const metas = [this.#metaOf(0), this.#metaOf(1)];
    const [first, second] = metas;
    if (first == null || second == null) return first ?? second ?? null;
    const newest = second.transaction > first.transaction ? second : first;
    if (Math.abs(first.transaction - second.transaction) > 1) {
      this.#tell(newest.page, `its two beginnings are of transactions ${first.transaction} and ${second.transaction}`);
    }
    return newest;
  }

  #metaOf(number: number): Meta | null {
    const page = this.read(number * this.pageBytes, MIN_PAGE_BYTES);
    const wrong = (message: string): null => (this.#tell(number, message), null);
    if (page.length < MIN_PAGE_BYTES) return wrong('the file ends before it');
    const view = viewOf(page);
    if (view.getUint32(LmdbMetaAt.magic, true) !== MAGIC) return wrong('no beginning of a database');
    const version = view.getUint32(LmdbMetaAt.version, true);
    if (version !== DATA_VERSION) return wrong(`data version ${version} is not known`);
    if (view.getUint16(LmdbAt.flags, true) !== META) return wrong('not marked as a beginning');
    if (u64(view, LmdbAt.pageNumber) !== number) return wrong('it has the number of another page');
    const pageBytes = view.getUint32(LmdbMetaAt.free, true);
    if (pageBytes !== this.pageBytes) return wrong(`pages of ${pageBytes} bytes`);
    const meta = {
      page: number,
      transaction: u64(view, LmdbMetaAt.transaction),
      lastPage: u64(view, LmdbMetaAt.lastPage),
      free: treeOf(view, LmdbMetaAt.free),
      main: treeOf(view, LmdbMetaAt.main),
    };
    // Transaction n is written to page n modulo 2.
    if (meta.transaction % 2 !== number && meta.transaction !== 0) return wrong(`transaction ${meta.transaction} does not belong there`);
    const mapBytes = u64(view, LmdbMetaAt.mapBytes);
    if (mapBytes % pageBytes !== 0) return wrong(`a map of ${mapBytes} bytes`);
    if ((meta.lastPage + 1) * pageBytes > mapBytes) return wrong(`${meta.lastPage} pages are more than its map holds`);
    return meta;
  }

  // ---------------------------------------------------------------- trees

  *#checkTree(name: string, tree: Tree): Generator<LmdbEntry> {
    const counts: Counts = { branch: 0, leaf: 0, overflow: 0, entries: 0 };
    const before = this.#damage.length;
    if (tree.root >= 0) {
      const state: LastKey = { key: null, isSeparator: false };
      yield* this.#checkPage(tree.root, tree.depth, counts, name === 'free', state);
    }
    if (this.#damage.length > before) return;
    const { branch, leaf, overflow, entries } = counts;
    const found = `${branch} + ${leaf} + ${overflow} pages, ${entries} entries`;
    const said = `${tree.branchPages} + ${tree.leafPages} + ${tree.overflowPages} pages, ${tree.entries} entries`;
    if (found !== said) this.#tell(this.#meta!.page, `the ${name} tree is said to have ${said}; it has ${found}`);
  }

  /** `depth`: levels from here down, itself included. */
  *#checkPage(number: number, depth: number, counts: Counts, isFree: boolean, state: LastKey): Generator<LmdbEntry> {
    const page = this.#use(number) ? this.#pageOf(number) : null;
    if (page === null) return;
    const nodes = this.#nodesOf(page, number, true);
    if (nodes === null) return;
    const isBranch = (viewOf(page).getUint16(LmdbAt.flags, true) & BRANCH) !== 0;
    if (isBranch !== depth > 1)
      return this.#tell(number, `it is ${isBranch ? 'a branch' : 'a leaf'}, ${depth - 1} levels above the leaves`);
    if (isBranch) counts.branch++;
    else counts.leaf++;
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i]!;
      const isNamed = !isBranch || i > 0;
      // The free tree's keys are numbers of transactions.
      const order = isFree ? compareNumbers : compare;
      if (isNamed && state.key !== null) {
        const step = order(node.key, state.key);
        if (step < 0 || (step === 0 && !state.isSeparator)) this.#tell(number, 'its keys are not in order');
      }
      if (isNamed) {
        state.key = node.key;
        state.isSeparator = isBranch;
      }
      if (isBranch) yield* this.#checkPage(node.child, depth - 1, counts, isFree, state);
      else {
        counts.entries++;
        const data = this.#dataOf(page, node, number, counts);
        if (data !== null) yield [node.key, data];
      }
    }
  }

  /** Null: it is damaged. */
  #nodesOf(page: Uint8Array, number: number, isTold: boolean): Node[] | null {
    const wrong = (message: string): null => {
      if (isTold) this.#tell(number, message);
      return null;
    };
    const view = viewOf(page);
    const flags = view.getUint16(LmdbAt.flags, true);
    if (flags !== BRANCH && flags !== LEAF) return wrong(`flags ${flags} are none of a tree's page`);
    if (u64(view, LmdbAt.pageNumber) !== number) return wrong('it has the number of another page');
    if (u64(view, LmdbAt.transaction) > this.#meta!.transaction) {
      if (isTold) this.#damage.push({ page: number, message: 'it is of a transaction that has not been', isUnused: true });
      return null;
    }
    const lower = view.getUint16(LmdbAt.lower, true);
    const upper = view.getUint16(LmdbAt.upper, true);
    if (lower > upper || upper + LmdbAt.header > this.pageBytes || lower % 2 !== 0) return wrong(`bounds ${lower} and ${upper}`);
    const nodes: Node[] = [];
    const taken: (readonly [number, number])[] = [];
    for (let i = 0; i < lower / 2; i++) {
      const start = view.getUint16(LmdbAt.header + 2 * i, true) + LmdbAt.header;
      if (start < upper + LmdbAt.header || start + NODE_BYTES > this.pageBytes) return wrong(`entry ${i} lies outside`);
      const node = nodeAt(page, view, start, flags === BRANCH);
      const end = node.at + (flags === BRANCH ? 0 : (node.flags & BIG_DATA) !== 0 ? BIG_DATA_BYTES : node.lengthBytes);
      if (node.key.length > MAX_KEY_BYTES || end > this.pageBytes) return wrong(`entry ${i} goes beyond the page`);
      if (flags === LEAF && (node.flags & ~BIG_DATA) !== 0) return wrong(`entry ${i} has flags ${node.flags}`);
      nodes.push(node);
      taken.push([start, end]);
    }
    taken.sort((a, b) => a[0] - b[0]);
    if (taken.some(([, end], i) => end > (taken[i + 1]?.[0] ?? Infinity))) return wrong('entries overlap');
    if (nodes.length === 0) return wrong('it has no entry');
    return nodes;
  }

  #dataOf(page: Uint8Array, node: Node, number: number, counts: Counts | null): Uint8Array | null {
    if ((node.flags & BIG_DATA) === 0) return page.subarray(node.at, node.at + node.lengthBytes);
    const wrong = (at: number, message: string): null => {
      if (counts !== null) this.#tell(at, message);
      return null;
    };
    const view = viewOf(page);
    const first = u64(view, node.at);
    const pages = u64(view, node.at + 16);
    // More than it needs: it was longer once.
    if (pages > MAX_DATA_PAGES || pages * this.pageBytes < node.lengthBytes + LmdbAt.header)
      return wrong(number, `an entry's data of ${pages} pages`);
    for (let i = 0; counts !== null && i < pages; i++) if (!this.#use(first + i)) return null;
    const data = this.read(first * this.pageBytes, pages * this.pageBytes);
    if (data.length < LmdbAt.header + node.lengthBytes) return wrong(first, 'the file ends before it');
    const header = viewOf(data);
    if (u64(header, LmdbAt.pageNumber) !== first) return wrong(first, 'it has the number of another page');
    if (header.getUint16(LmdbAt.flags, true) !== OVERFLOW) return wrong(first, 'not marked as the data of an entry');
    if (header.getUint32(LmdbAt.lower, true) !== pages) return wrong(first, 'its count of pages is another one');
    if (counts !== null) counts.overflow += pages;
    return data.subarray(LmdbAt.header, LmdbAt.header + node.lengthBytes);
  }

  /** A list of pages that are free: a count, then pages; a negative number says how many in a row the next one begins; 0: nothing. */
  #checkFree(list: Uint8Array, lastPage: number): void {
    const view = viewOf(list);
    const count = list.length >= 8 ? u64(view, 0) : Infinity;
    if (8 + count * 8 > list.length) return this.#tell(-1, 'a list of free pages is longer than its entry');
    for (let i = 1; i <= count; i++) {
      const said = Number(view.getBigInt64(i * 8, true));
      if (said === 0) continue;
      const pages = said < 0 ? -said : 1;
      const first = said < 0 ? Number(view.getBigInt64(++i * 8, true)) : said;
      if (first < 2 || first + pages - 1 > lastPage) return this.#tell(first, 'it is said to be free, and lies outside');
      for (let n = 0; n < pages; n++) if (!this.#use(first + n)) return;
    }
  }

  #use(page: number): boolean {
    if (page < 2 || page > this.#meta!.lastPage) return (this.#tell(page, 'it is named, and lies outside'), false);
    if (this.#used.has(page)) return (this.#tell(page, 'it is named twice'), false);
    this.#used.add(page);
    return true;
  }

  #pageOf(number: number): Uint8Array | null {
    const page = this.read(number * this.pageBytes, this.pageBytes);
    if (page.length === this.pageBytes) return page;
    this.#tell(number, 'the file ends before it');
    return null;
  }

  #keptPage(number: number): Uint8Array | null {
    const kept = this.#kept.get(number);
    if (kept !== undefined) return kept;
    const page = this.read(number * this.pageBytes, this.pageBytes);
    if (page.length < this.pageBytes) return null;
    if ((viewOf(page).getUint16(LmdbAt.flags, true) & BRANCH) === 0) return page;
    if (this.#kept.size >= MAX_KEPT_PAGES) this.#kept.clear();
    this.#kept.set(number, page);
    return page;
  }

  #tell(page: number, message: string): void {
    this.#damage.push({ page, message });
  }
}

function nodeAt(page: Uint8Array, view: DataView, start: number, isBranch: boolean): Node {
  const keyBytes = view.getUint16(start + 6, true);
  const key = page.subarray(start + NODE_BYTES, start + NODE_BYTES + keyBytes);
  const low = view.getUint32(start, true);
  const flags = view.getUint16(start + 4, true);
  const at = start + NODE_BYTES + keyBytes;
  return { key, child: isBranch ? flags * 2 ** 32 + low : -1, flags, at, lengthBytes: isBranch ? 0 : low };
}

function treeOf(view: DataView, at: number): Tree {
  const root = view.getBigUint64(at + TreeAt.root, true);
  return {
    flags: view.getUint16(at + TreeAt.flags, true),
    depth: view.getUint16(at + TreeAt.depth, true),
    branchPages: u64(view, at + TreeAt.branch),
    leafPages: u64(view, at + TreeAt.leaf),
    overflowPages: u64(view, at + TreeAt.overflow),
    entries: u64(view, at + TreeAt.entries),
    root: root === 0xffff_ffff_ffff_ffffn ? -1 : Number(root),
  };
}

const isPageBytes = (bytes: number): boolean => bytes >= MIN_PAGE_BYTES && bytes <= MAX_PAGE_BYTES && (bytes & (bytes - 1)) === 0;
const u64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function compare(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** Of the free tree: of any other length they are damaged. */
function compareNumbers(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== 8 || b.length !== 8) return -1;
  return u64(viewOf(a), 0) - u64(viewOf(b), 0);
}
