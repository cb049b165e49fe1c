import assert from 'node:assert/strict';
import { silentEvents, type EventSink } from '../../base/events.js';
import { BLOCK_BYTES, type BlockStorePort, type ExtentPort, type LayerFilesOwner, type LayerId, type StoreOwner } from '../core/ports.js';
import { StoreError } from '../store/index.js';

/** What a layer that is being removed still takes. */
interface Rest {
  readonly vdiskId: string | null;
  readonly bytesOf: ReadonlyMap<number, number>;
  beganBytes: number;
  leftBytes: number;
}

/**
 * Takes layers through the three steps of their removal, each durable before the next: (1) the store marks the layer; from here it is
 * no layer of its vdisk any more. (2) Its files are deleted. (3) The store forgets it. A crash in between leaves a marked layer,
 * which `resume` goes on with. What finds no space, or a file that cannot be deleted, is tried again.
 */
export class LayerRemoval implements StoreOwner, LayerFilesOwner {
  readonly #steps = new Map<LayerId, 'mark' | 'forget'>();
  readonly #done = new Map<LayerId, () => void>();
  readonly #rests = new Map<LayerId, Rest>();
  readonly #resumed = new Set<LayerId>();

  /** `onFailed`: the files could not be deleted (`errno`), or the store failed. `later`: calls back after a while. */
  constructor(
    readonly store: BlockStorePort,
    readonly extents: ExtentPort,
    readonly onFailed: (message: string) => void,
    readonly later: (call: () => void) => void,
    readonly events: EventSink = silentEvents,
  ) {}

  /** Layers that are not gone yet. */
  get layersLeft(): number {
    return this.#steps.size;
  }

  /** Data whose files are still there; of a layer that waits for its turn all of it. */
  get bytesLeft(): number {
    let bytes = 0;
    for (const { leftBytes } of this.#rests.values()) bytes += leftBytes;
    return bytes;
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
      if (this.#steps.has(layer)) continue;
      this.#resumed.add(layer);
      this.#deleteFiles(layer);
    }
  }

  onCommitted(layer: number, ok: boolean): void {
    const step = this.#steps.get(layer);
    this.#steps.delete(layer);
    if (!ok) return this.onFailed(`layer ${layer} is unknown to the block store`);
    if (step === 'mark') return this.#deleteFiles(layer);
    this.#gone(layer);
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

  onFilesFound(layer: number, segments: readonly number[]): void {
    const rest = this.#rests.get(layer)!;
    rest.beganBytes = rest.leftBytes = segments.reduce((sum, segment) => sum + (rest.bytesOf.get(segment) ?? 0), 0);
    if (!this.#resumed.has(layer)) return;
    const cause = 'a deletion that the end of the former process cut short goes on';
    this.#emit('space-returning', layer, cause, { leftBytes: rest.leftBytes, files: segments.length });
  }

  onFileRemoved(layer: number, segment: number): void {
    const rest = this.#rests.get(layer)!;
    rest.leftBytes -= rest.bytesOf.get(segment) ?? 0;
  }

  #gone(layer: LayerId): void {
    const rest = this.#rests.get(layer)!;
    this.#emit('space-returned', layer, 'what was deleted here has given its space back', { freedBytes: rest.beganBytes });
    this.#rests.delete(layer);
    this.#resumed.delete(layer);
  }

  #emit(kind: 'space-returning' | 'space-returned', layer: LayerId, cause: string, details: Readonly<Record<string, number>>): void {
    const { vdiskId } = this.#rests.get(layer)!;
    this.events.emit({ kind, severity: 'info', vdiskId, cause, details: { layer, ...details } });
  }

  /** Of a damaged record nobody knows what it counted. */
  #restOf(layer: LayerId): Rest {
    const bytesOf = new Map<number, number>();
    try {
      for (const { segment, dataBlocks } of this.store.segments(layer)) bytesOf.set(segment, dataBlocks * BLOCK_BYTES);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
    const bytes = [...bytesOf.values()].reduce((sum, one) => sum + one, 0);
    return { vdiskId: this.store.vdiskOf(layer), bytesOf, beganBytes: bytes, leftBytes: bytes };
  }

  #deleteFiles(layer: LayerId): void {
    this.#steps.set(layer, 'forget');
    this.#rests.set(layer, this.#restOf(layer));
    this.extents.removeLayer(layer, this, layer);
  }
}
