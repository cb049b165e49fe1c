import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What the C++ addon exports (addon/module.cc). */
export interface Addon {
  /** Reserves an arena; its id is valid in all threads of the process. */
  arenaCreate(byteLength: number): number;
  /** The arena's memory in this thread. */
  arenaAttach(id: number): ArrayBuffer;
  /** Throws with the errno's name as `code`. */
  ringCreate(arenaId: number, slots: number): NativeRing;
  /** A listening descriptor, or -errno. A path means a Unix socket, whose file gets `mode`; `host` is a numeric address. */
  listen(path: string, host: string, port: number, backlog: number, mode: number): number;
  /** What the socket is bound to, or -errno. */
  localAddress(fd: number): { readonly path: string } | { readonly host: string; readonly port: number } | number;
  shutdown(fd: number): void;
  /** No effect where the ring of that eventfd is destroyed. */
  wake(eventFd: number): void;
  /** 0, or -errno */
  fallocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): number;
  /** lseek(2) for data (0) or for a hole (1): where it begins, or -errno (-ENXIO: none up to the end). */
  seek(fd: number, fromBytes: number, hole: 0 | 1): number;
  /** Exclusive flock(2) without waiting: 0, or -errno (-EAGAIN: held by somebody else). */
  flock(fd: number): number;
  duplicate(fd: number): number;
  /** Two connected Unix sockets, as one number: the first times 2^20, and the second; or -errno. */
  socketPair(): number;
  /** A descriptor that is connected to the Unix socket, or -errno. */
  connectUnix(path: string): number;
  /** One datagram to a Unix socket; `@` begins a name in the abstract namespace. 0, or -errno (-EAGAIN: nobody has read for so long). */
  sendDatagram(path: string, bytes: Uint8Array, timeoutMs: number): number;
  /** Sends all bytes, the descriptors with the first of them: how many bytes, or -errno (-ETIMEDOUT: the peer took nothing for so long). */
  sendDescriptors(socket: number, timeoutMs: number, bytes: Uint8Array, descriptors: Int32Array): Promise<number>;
  /** What has come, no bytes at the end; or -errno (-ETIMEDOUT: nothing for so long). */
  receiveDescriptors(socket: number, timeoutMs: number): Promise<{ readonly bytes: Uint8Array; readonly descriptors: number[] } | number>;
}

export interface NativeRing {
  /** Int32: DESCRIPTOR_WORDS per operation enqueued. */
  readonly descriptors: ArrayBuffer;
  /** Uint32 pairs (offset, length) of the gather lists of this turn. */
  readonly gather: ArrayBuffer;
  /** Int32 pairs (operation, result). */
  readonly completions: ArrayBuffer;
  /** Int32 control words, see uring-engine.ts. */
  readonly control: ArrayBuffer;
  /** Float64: [0] monotonic nanoseconds at the end of the last enter. */
  readonly clock: ArrayBuffer;
  readonly eventFd: number;
  /** One turn. Throws ERR_ARENA_BOUNDS where a descriptor names memory outside the arena, or a slot that is not open. */
  enter(): void;
  setSlot(slot: number, fd: number): void;
  /** An accepted connection gets no slot, and is about to be closed. */
  forgetAccepted(fd: number): void;
  clearSlot(slot: number): void;
  /** The socket of a connection about to be made from this slot, or -errno. */
  prepareConnect(slot: number, path: string, host: string, port: number): number;
  /** Ends all operations, without a word, and gives the ring back. The slots' descriptors are to be closed afterwards. */
  destroy(): void;
}

let loaded: Addon | null | undefined;
let whyNot = '';

/** Null where it is not built, does not load, or is switched off by URING_ENGINE_NO_ADDON=1. */
export function loadAddon(): Addon | null {
  if (loaded !== undefined) return loaded;
  if (process.env['URING_ENGINE_NO_ADDON'] === '1') {
    whyNot = 'switched off by URING_ENGINE_NO_ADDON';
    return (loaded = null);
  }
  try {
    const require = createRequire(import.meta.url);
    const load = require('node-gyp-build') as (directory: string) => Addon;
    loaded = load(dirname(dirname(fileURLToPath(import.meta.url))));
  } catch (error) {
    whyNot = error instanceof Error ? error.message.split('\n')[0]! : String(error);
    loaded = null;
  }
  return loaded;
}

/** Why {@link loadAddon} gave null. */
export function addonFailure(): string {
  return whyNot;
}
