import { Gather } from 'uring-engine';
import type { PathRequest } from '../../wire/path.js';
import type { VdiskAnswer, VdiskCommand } from '../../wire/vdisk-command.js';
import type { Controller } from './controller.js';
import { BLOCK_BYTES, EntryKind, NoRoom } from './ports.js';

export type ResizeRequest = Omit<Extract<VdiskCommand, { kind: 'resize' }>, 'kind'>;
export type ResizeResult = Extract<VdiskAnswer, { kind: 'resized' | 'changed' | 'busy' | 'full' | 'not-served' }>;

/**
 * The size of one vdisk (rule 26): it changes with a RESIZE entry, one at a time. `offsetBytes` of the entry is the new size, `lengthBytes` what it cuts off there, and zeroes:
 * what is read there when the vdisk has grown again are zeroes, on every replica. From the entry's seq on no change gets a place beyond its end; a longer vdisk is used
 * when the entry is committed.
 */
export class Resizes {
  /** Changes get a place in the log up to here. */
  limitBytes: number;
  #inLog: ((result: ResizeResult) => void) | null = null;
  readonly #nothing = new Gather(1);

  constructor(readonly controller: Controller) {
    this.limitBytes = controller.state.sizeBytes;
  }

  /** Whether the change may get a place at the end of the log as it is now. */
  isInside({ offsetBytes, lengthBytes }: Pick<PathRequest, 'offsetBytes' | 'lengthBytes'>): boolean {
    return offsetBytes + lengthBytes <= this.limitBytes;
  }

  /** `done` is called once, perhaps before this returns. */
  start({ fromBytes, toBytes }: ResizeRequest, done: (result: ResizeResult) => void): void {
    const { controller } = this;
    const { sizeBytes } = controller.state;
    if (!controller.isServing) return done({ kind: 'not-served', sizeBytes });
    if (this.#inLog !== null) return done({ kind: 'busy', sizeBytes });
    if (toBytes === sizeBytes) return done({ kind: 'resized', sizeBytes });
    if (fromBytes !== sizeBytes) return done({ kind: 'changed', sizeBytes });
    const at = this.#append(toBytes, Math.max(0, sizeBytes - toBytes));
    if (at < 0) return done({ kind: at === NoRoom.full ? 'full' : 'busy', sizeBytes });
    this.#inLog = done;
    this.limitBytes = Math.min(this.limitBytes, toBytes);
    controller.flights.control[at] = { onControlCommitted: () => this.#committed(toBytes) };
    // What waits for its place, and lies behind the new end, gets none.
    controller.onLogSpace();
  }

  /** The controller serves no longer, and will not hear what becomes of the entry. */
  refuse(): void {
    const done = this.#inLog;
    this.#inLog = null;
    done?.({ kind: 'not-served', sizeBytes: this.controller.state.sizeBytes });
  }

  #append(sizeBytes: number, cutBytes: number): number {
    const { controller } = this;
    const { draft } = controller;
    draft.kind = EntryKind.resize;
    draft.sessionId = 0;
    draft.clientSeq = 0;
    draft.part = 0;
    draft.parts = 1;
    draft.offsetBytes = sizeBytes;
    draft.lengthBytes = cutBytes;
    draft.payload = this.#nothing;
    return controller.append(sizeBytes / BLOCK_BYTES, cutBytes / BLOCK_BYTES);
  }

  #committed(sizeBytes: number): void {
    const { controller } = this;
    controller.state.sizeBytes = this.limitBytes = sizeBytes;
    controller.host.onSized?.(controller);
    const done = this.#inLog;
    this.#inLog = null;
    done?.({ kind: 'resized', sizeBytes });
  }
}
