import { loadAddon } from './addon.js';
import { EngineError } from './errors.js';

/**
 * The memory that all I/O of a process uses: one mapping, shared by all threads, named by byte offsets.
 * With the addon it is anonymous memory with huge pages, page-aligned, between guard pages; without, a SharedArrayBuffer.
 * At most 4 GiB − 64 KiB, so that an offset and a length are exact uint32. Memory is taken from the system as it is touched.
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

export const MAX_ARENA_BYTES = 2 ** 32 - 65_536;

/** A new arena of `byteLength` bytes, rounded up to whole pages. Throws EngineError ERR_ARGUMENT or the errno of mmap. */
export function createArena(byteLength: number): Arena {
  const bytes = Math.ceil(byteLength / 4096) * 4096;
  if (!(bytes > 0 && bytes <= MAX_ARENA_BYTES)) {
    throw new EngineError('ERR_ARGUMENT', `an arena has 4096 to ${MAX_ARENA_BYTES} bytes, not ${byteLength}`);
  }
  const addon = loadAddon();
  return attachArena(
    addon === null
      ? { byteLength: bytes, id: -1, shared: new SharedArrayBuffer(bytes) }
      : { byteLength: bytes, id: addon.arenaCreate(bytes), shared: null },
  );
}

/** The arena of another thread of this process. */
export function attachArena(handle: ArenaHandle): Arena {
  const buffer = handle.shared ?? attachMapping(handle.id);
  if (buffer.byteLength !== handle.byteLength) {
    throw new EngineError('ERR_ARGUMENT', `the arena has ${buffer.byteLength} bytes, its handle says ${handle.byteLength}`);
  }
  return {
    byteLength: handle.byteLength,
    bytes: new Uint8Array(buffer),
    words: new Int32Array(buffer),
    view: new DataView(buffer),
    handle,
  };
}

/** One ArrayBuffer per thread and arena: V8 wants each piece of foreign memory wrapped once per isolate. */
const attached = new Map<number, ArrayBuffer>();

function attachMapping(id: number): ArrayBuffer {
  let buffer = attached.get(id);
  if (buffer === undefined) {
    const addon = loadAddon();
    if (addon === null) throw new EngineError('ERR_UNSUPPORTED', 'this arena lives in the addon, which does not load in this thread');
    buffer = addon.arenaAttach(id);
    attached.set(id, buffer);
  }
  return buffer;
}
