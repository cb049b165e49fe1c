import assert from 'node:assert/strict';
import type { BlockStorePort, ExtentPort, LayerId, ReadOwner, StoreOwner } from '../core/ports.js';

/**
 * Takes layers through the three steps of their removal, each durable before the next: (1) the store marks the layer; from here it is
 * no layer of its vdisk any more. (2) Its files are deleted. (3) The store forgets it. A crash in between leaves a marked layer,
 * which `resume` goes on with. What finds no space, or a file that cannot be deleted, is tried again.
 */
export class LayerRemoval implements StoreOwner, ReadOwner {
  readonly #steps = new Map<LayerId, 'mark' | 'forget'>();
  readonly #done = new Map<LayerId, () => void>();

  /** `onFailed`: the files could not be deleted (`errno`), or the store failed. `later`: calls back after a while. */
  constructor(
    readonly store: BlockStorePort,
    readonly extents: ExtentPort,
    readonly onFailed: (message: string) => void,
    readonly later: (call: () => void) => void,
  ) {}

  /** Layers that are not gone yet. */
  get layersLeft(): number {
    return this.#steps.size;
  }

  /** Nobody uses the layer any more. */
  remove(layer: LayerId, done: () => void = () => undefined): void {
    assert(!this.#steps.has(layer), `layer ${layer} is being removed already`);
    this.#done.set(layer, done);
    this.#steps.set(layer, 'mark');
    this.store.removeLayer(layer, this, layer);
  }

  /** After a start, on one shard, with the layers that a former process left marked (`deletingLayers`). */
  resume(layers: readonly LayerId[]): void {
    for (const layer of layers) {
      if (!this.#steps.has(layer)) this.#deleteFiles(layer);
    }
  }

  onCommitted(layer: number, ok: boolean): void {
    const step = this.#steps.get(layer);
    this.#steps.delete(layer);
    if (!ok) return this.onFailed(`layer ${layer} is unknown to the block store`);
    if (step === 'mark') return this.#deleteFiles(layer);
    const done = this.#done.get(layer);
    this.#done.delete(layer);
    done?.();
  }

  onRead(layer: number, result: number): void {
    if (result === 0) return this.store.forgetLayer(layer, this, layer);
    this.onFailed(`the files of layer ${layer} could not be deleted: errno ${-result}; it is tried again`);
    this.later(() => this.#deleteFiles(layer));
  }

  onStoreFull(layer: number): void {
    const isMarked = this.#steps.get(layer) === 'forget';
    this.later(() => (isMarked ? this.store.forgetLayer(layer, this, layer) : this.store.removeLayer(layer, this, layer)));
  }

  onStoreFailed(message: string): void {
    this.onFailed(message);
  }

  onLayerCreated(): void {
    assert.fail('a removal creates no layer');
  }

  #deleteFiles(layer: LayerId): void {
    this.#steps.set(layer, 'forget');
    this.extents.removeLayer(layer, this, layer);
  }
}
