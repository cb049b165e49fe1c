import { NbdServerError } from '../errors.js';
import type { Export, ExportDirectory } from '../export.js';
import { checkExport } from '../protocol/export-info.js';

/** Exports by name. The first one added is the default export too, unless `defaultName` says otherwise. */
export class ExportMap implements ExportDirectory {
  readonly #exports = new Map<string, Export>();

  constructor(
    exports: Iterable<Export> = [],
    private readonly defaultName?: string | null,
  ) {
    for (const one of exports) this.add(one);
  }

  /** Throws ERR_EXPORT_INVALID for one that breaks the protocol's rules, or a name that is taken. */
  add(one: Export): void {
    checkExport(one);
    if (this.#exports.has(one.name))
      throw new NbdServerError('ERR_EXPORT_INVALID', `there is an export ${JSON.stringify(one.name)} already`);
    this.#exports.set(one.name, one);
  }

  /** Connections go on with the export that they have. */
  delete(name: string): boolean {
    return this.#exports.delete(name);
  }

  find(name: string): Export | undefined {
    const found = this.#exports.get(name);
    if (found !== undefined || name !== '' || this.defaultName === null) return found;
    return this.defaultName === undefined ? this.#exports.values().next().value : this.#exports.get(this.defaultName);
  }

  list(): Iterable<{ readonly name: string; readonly description: string }> {
    return this.#exports.values();
  }
}
