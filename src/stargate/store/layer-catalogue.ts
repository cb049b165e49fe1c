import type { LayerId } from '../core/ports.js';
import { ifWhole } from './errors.js';
import { decodeLayer, keyAfter, KeyKind, layerKey, parseKey, type LayerRecord } from './format.js';
import type { RecordReader } from './records.js';

/**
 * Which layers a vdisk has. Layers get rising numbers and keep their vdisk, so each record is read once for that, and what came since the last
 * question is behind all that is known: a start asks for each vdisk, and reads each record once. Whether a layer is still there its record says.
 * A damaged record hides whose layer it is; it keeps no other vdisk away.
 */
export class LayerCatalogue {
  readonly #byVdisk = new Map<string, LayerId[]>();
  readonly #damaged = new Set<LayerId>();
  #last: LayerId = 0;

  constructor(readonly reader: RecordReader) {}

  /** Not being deleted, oldest first. */
  layersOf(vdiskId: string): LayerId[] {
    this.#catchUp();
    const layers = (this.#byVdisk.get(vdiskId) ?? []).filter(layer => this.#read(layer)?.deleting === false);
    this.reader.release();
    return layers;
  }

  /** Null: its record is damaged, or gone. */
  vdiskOf(layer: LayerId): string | null {
    this.reader.release();
    const record = this.#read(layer);
    this.reader.release();
    return record?.vdiskId ?? null;
  }

  deleting(): LayerId[] {
    this.#catchUp();
    const layers = [...this.#byVdisk.values()].flat().filter(layer => this.#read(layer)?.deleting === true);
    this.reader.release();
    return layers.sort((a, b) => a - b);
  }

  damaged(): LayerId[] {
    this.#catchUp();
    return [...this.#damaged];
  }

  #catchUp(): void {
    this.reader.release();
    for (const [key, value] of this.reader.range(layerKey(this.#last + 1), keyAfter(Buffer.from([KeyKind.layer])))) {
      const { layer } = parseKey(key)!;
      const record = this.#decode(layer, value);
      this.#last = layer;
      if (record === null) continue;
      const known = this.#byVdisk.get(record.vdiskId);
      if (known === undefined) this.#byVdisk.set(record.vdiskId, [layer]);
      else known.push(layer);
    }
    this.reader.release();
  }

  #read(layer: LayerId): LayerRecord | null {
    const value = this.reader.get(layerKey(layer));
    return value === undefined ? null : this.#decode(layer, value);
  }

  #decode(layer: LayerId, value: Uint8Array): LayerRecord | null {
    const record = ifWhole(() => decodeLayer(layer, value));
    if (record === null) this.#damaged.add(layer);
    return record;
  }
}
