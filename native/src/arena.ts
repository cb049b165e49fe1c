/**
 * The memory that all I/O of a process uses: one mapping, shared by all threads, named by byte offsets.
 * With the addon it is anonymous memory with huge pages, page-aligned; without, a SharedArrayBuffer.
 * At most 4 GiB, so that an offset is an exact uint32.
 */
export interface Arena {
  readonly byteLength: number;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
  /** Structured-cloneable; another thread of the process calls {@link attachArena} with it. */
  readonly handle: ArenaHandle;
}

export interface ArenaHandle {
  readonly byteLength: number;
  /** Index in the addon's table of arenas, or -1. */
  readonly id: number;
  /** The memory itself where there is no addon. */
  readonly shared: SharedArrayBuffer | null;
}
