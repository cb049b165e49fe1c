import type { SizedVdisk } from '../../../src/meta/sizes.js';
import { META_RETRY_NS } from './limits.js';
import type { ClusterNode } from './cluster-node.js';

/** What the main thread of one process does with sizes that its controllers tell: `src/main/sizes.ts`, and `recordSize` of `src/meta/sizes.ts`, with calls back in place of promises. */
export class SizeRecorder {
  readonly #wanted = new Map<string, SizedVdisk>();
  readonly #running = new Set<string>();
  readonly #process: number;

  constructor(readonly node: ClusterNode) {
    this.#process = node.process;
  }

  told(sized: SizedVdisk): void {
    const { vdiskId } = sized;
    this.#wanted.set(vdiskId, sized);
    if (this.#running.has(vdiskId)) return;
    this.#running.add(vdiskId);
    this.#next(vdiskId);
  }

  #next(vdiskId: string): void {
    if (this.node.process !== this.#process) return;
    const sized = this.#wanted.get(vdiskId);
    if (sized === undefined) this.#running.delete(vdiskId);
    else this.#record(sized);
  }

  #record(sized: SizedVdisk): void {
    const { vdiskId, term, sizeBytes } = sized;
    const { cluster, number } = this.node;
    cluster.metadata.readSize(number, vdiskId, found => {
      if (found === null) return this.#later(vdiskId);
      if (found.term !== term || found.size.sizeBytes === sizeBytes) return this.#done(sized);
      cluster.metadata.writeSize(number, vdiskId, found, sizeBytes, isWritten => {
        if (isWritten === null) this.#later(vdiskId);
        else if (isWritten) this.#done(sized);
        else this.#next(vdiskId);
      });
    });
  }

  #done(sized: SizedVdisk): void {
    if (this.#wanted.get(sized.vdiskId) === sized) this.#wanted.delete(sized.vdiskId);
    this.#next(sized.vdiskId);
  }

  #later(vdiskId: string): void {
    this.node.clock.after(META_RETRY_NS, () => this.#next(vdiskId));
  }
}
