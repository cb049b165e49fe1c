import type { ClientId, FileSystem, Slot } from 'uring-engine';
import { MAX_EXTENT_LAYER } from './limits.js';
import { extentPath, layerPath } from './layout.js';

export interface ExtentFile {
  readonly key: number;
  readonly layer: number;
  readonly slot: Slot;
  /** Operations under way; the file is open at least until they are 0. */
  outstanding: number;
}

/** What the opening of a file came to: the file; it does not exist; all files that may be open are busy. */
export type Opened = ExtentFile | 'missing' | 'busy';

/** The two calls of the engine that open files need. */
export interface FileCloser {
  readonly files: FileSystem;
  close(slot: Slot, client: ClientId, tag: number): void;
}

/**
 * The segment files a shard has open, the least recently used closed first, and which names are not yet durable. A file with
 * unsynced writes may be closed: they belong to the file, and a sync through a later descriptor covers them (and reports an error
 * that no other descriptor has reported).
 */
export class OpenFiles {
  /** In the order of their last use. */
  readonly #files = new Map<number, ExtentFile>();
  /** Layers whose directory entry in the root this process has made durable. */
  readonly #durableLayers = new Set<number>();
  /** Layers with names that may not be durable. Those of a former process too: nobody knows whether it got to its sync. */
  readonly #unsyncedNames = new Set<number>();
  readonly #seenLayers = new Set<number>();

  constructor(
    readonly engine: FileCloser,
    readonly root: string,
    readonly limit: number,
    readonly client: ClientId,
    readonly closeTag: number,
  ) {}

  get size(): number {
    return this.#files.size;
  }

  open(layer: number, segment: number, create: boolean): Opened {
    const key = segment * MAX_EXTENT_LAYER + layer;
    const known = this.#files.get(key);
    if (known !== undefined) {
      this.#files.delete(key);
      this.#files.set(key, known);
      return known;
    }
    if (this.#files.size >= this.limit && !this.#closeOne()) return 'busy';
    const slot = this.#openFile(layer, segment, create);
    if (slot === null) return 'missing';
    const file: ExtentFile = { key, layer, slot, outstanding: 0 };
    this.#files.set(key, file);
    return file;
  }

  /** Makes the names of the layer durable if they are not. Blocks, once for each file that was created. */
  syncNames(layer: number): void {
    if (!this.#unsyncedNames.has(layer)) return;
    const { files } = this.engine;
    files.syncDirectory(layerPath(this.root, layer));
    if (!this.#durableLayers.has(layer)) {
      files.syncDirectory(this.root);
      this.#durableLayers.add(layer);
    }
    this.#unsyncedNames.delete(layer);
  }

  /** Closes the layer's files. False: some are busy. */
  closeLayer(layer: number): boolean {
    let idle = true;
    for (const file of [...this.#files.values()]) {
      if (file.layer !== layer) continue;
      if (file.outstanding > 0) idle = false;
      else this.#close(file);
    }
    return idle;
  }

  forgetLayer(layer: number): void {
    this.#durableLayers.delete(layer);
    this.#unsyncedNames.delete(layer);
    this.#seenLayers.delete(layer);
  }

  #openFile(layer: number, segment: number, create: boolean): Slot | null {
    const { files } = this.engine;
    const path = extentPath(this.root, layer, segment);
    if (!this.#seenLayers.has(layer)) {
      if (!files.exists(layerPath(this.root, layer))) {
        if (!create) return null;
        files.makeDirectory(layerPath(this.root, layer));
      }
      this.#seenLayers.add(layer);
      this.#unsyncedNames.add(layer);
    }
    if (files.exists(path)) return files.open(path, { write: true, direct: true });
    if (!create) return null;
    this.#unsyncedNames.add(layer);
    return files.open(path, { write: true, direct: true, create: true });
  }

  #closeOne(): boolean {
    for (const file of this.#files.values()) {
      if (file.outstanding > 0) continue;
      this.#close(file);
      return true;
    }
    return false;
  }

  #close(file: ExtentFile): void {
    this.#files.delete(file.key);
    this.engine.close(file.slot, this.client, this.closeTag);
  }
}
