import assert from 'node:assert/strict';
import type { ClientId, Engine } from 'uring-engine';
import type { LayerFilesOwner } from '../core/ports.js';
import { errnoOf } from './errno.js';
import { layerPath, parseExtentName } from './layout.js';
import { REMOVE_INTERVAL_NS } from './limits.js';
import type { OpenFiles } from './open-files.js';

interface Removal {
  readonly layer: number;
  readonly owner: LayerFilesOwner;
  readonly tag: number;
  /** Names still to be deleted; null until the layer's files are closed. */
  names: string[] | null;
}

/**
 * Deletes layers, one file at a time, with a pause after each. Idempotent: a removal that a crash cut short is done again from the
 * start, with fewer files.
 */
export class LayerRemover {
  readonly #queue: Removal[] = [];
  readonly #client: ClientId;

  constructor(
    readonly engine: Engine,
    readonly root: string,
    readonly files: OpenFiles,
  ) {
    this.#client = engine.register({ onCompletion: () => this.#step() });
  }

  /** Nobody uses the layer any more, but for operations under way. */
  remove(layer: number, owner: LayerFilesOwner, tag: number): void {
    assert(!this.#queue.some(removal => removal.layer === layer), `layer ${layer} is being removed already`);
    this.#queue.push({ layer, owner, tag, names: null });
    if (this.#queue.length === 1) this.#again();
  }

  #again(): void {
    this.engine.timer(REMOVE_INTERVAL_NS, this.#client, 0);
  }

  #step(): void {
    const removal = this.#queue[0]!;
    let result: number | null;
    try {
      result = this.#advance(removal);
    } catch (error) {
      // The store still lists the layer: the next start tries again.
      result = errnoOf(error);
    }
    if (result !== null) {
      this.#queue.shift();
      removal.owner.onRead(removal.tag, result);
    }
    if (this.#queue.length > 0) this.#again();
  }

  /** Null: not done. */
  #advance(removal: Removal): number | null {
    const { files } = this.engine;
    const directory = layerPath(this.root, removal.layer);
    if (removal.names === null) {
      if (!this.files.closeLayer(removal.layer)) return null;
      removal.names = files.exists(directory) ? files.list(directory) : [];
      removal.owner.onFilesFound?.(removal.tag, removal.names.map(parseExtentName));
      return null;
    }
    const name = removal.names.pop();
    if (name !== undefined) {
      files.remove(`${directory}/${name}`);
      removal.owner.onFileRemoved?.(removal.tag, parseExtentName(name));
      return null;
    }
    if (files.exists(directory)) files.syncDirectory(directory);
    // The empty directory stays: its number is never used again, and what counts is that its files are gone.
    this.files.forgetLayer(removal.layer);
    return 0;
  }
}
