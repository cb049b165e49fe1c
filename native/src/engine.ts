import type { Arena } from './arena.js';
import type { FileSystem } from './file-system.js';
import type { Gather } from './gather.js';

/**
 * The contract every I/O engine keeps: io_uring (through the addon), libuv (portable) and the faulty
 * disk (simulated). One contract suite runs over all of them (`test/contract`).
 *
 * Shape of use. A thread owns one engine. It registers clients, enqueues operations, and calls
 * {@link Engine.run}; the engine then turns: it submits what was enqueued, waits until something has
 * completed, tells each completion to its client, and calls the turn-end hooks. Nothing here returns
 * a promise per operation, and over io_uring nothing allocates per operation. A completion never comes during the call that enqueued it.
 *
 * Memory. All data lies in the {@link Arena}. An operation names it by byte offset and length; a range
 * outside the arena throws {@link EngineError} `ERR_ARENA_BOUNDS` when it is enqueued and is checked again
 * in the addon, so that foreign memory is never touched. A range belongs to the engine from the call
 * until its completion.
 *
 * Results are those of Linux: a count of bytes or 0, or a negative errno (`-errno.EIO`).
 */
export interface Engine {
  readonly kind: 'io_uring' | 'libuv' | 'simulated';
  readonly arena: Arena;
  /** Synchronous file-system calls for set-up and recovery, never for the hot path. */
  readonly files: FileSystem;
  /** Monotonic time in nanoseconds, read once a turn. */
  readonly nowNs: number;

  /** Adds a receiver of completions; at most {@link MAX_CLIENTS}. */
  register(client: EngineClient): ClientId;
  /**
   * Adds a hook that runs at the end of each turn, after all completions of the turn were told and before
   * the submission. Hooks run in ascending `order`: a log closes its batch, then servers flush their replies.
   */
  atTurnEnd(order: number, hook: () => void): void;

  // ---- slots: open files and sockets. A slot is a small integer; it is checked at each use.
  /** Takes over a file descriptor of this process (a listener made by another thread, an inherited socket); it is then the engine's to close. */
  adopt(fd: number, kind: SlotKind): Slot;
  /**
   * Gives a slot's descriptor away (to another thread of this process) and frees the slot. Throws ERR_SLOT where something is outstanding on it,
   * or where Node has read or accepted ahead (libuv); ERR_UNSUPPORTED for sockets on libuv without the addon.
   */
  release(slot: Slot): number;
  /** Binds and listens. Throws `ERR_ADDRESS_IN_USE`, `ERR_PATH_TOO_LONG` (Unix paths: 107 bytes). A stale Unix socket file nobody listens on is replaced. */
  listen(address: SocketAddress, options?: ListenOptions): Slot;
  /** The address a listener was bound to, with the port that the kernel chose. */
  localAddress(slot: Slot): SocketAddress;

  // ---- operations: enqueue now, complete later with (tag, result) at the client
  /** Result: the new connection's slot, or -errno (-EMFILE: all slots are taken). One call accepts one connection. */
  accept(listener: Slot, client: ClientId, tag: number): void;
  /** Result: the connection's slot, or -errno. */
  connect(address: SocketAddress, client: ClientId, tag: number): void;
  /**
   * Receives 1 to `lengthBytes` bytes, or exactly that many with `RECV_ALL`: fewer then only where the peer closes before. Result 0: the peer
   * has closed, or its half of the connection; what is sent to it may still arrive. One outstanding per slot; at most {@link MAX_TRANSFER_BYTES}.
   */
  recv(slot: Slot, offset: number, lengthBytes: number, flags: number, client: ClientId, tag: number): void;
  /**
   * Sends all of the gather list, in order; its content is copied by this call, the memory it names is not. One outstanding
   * per slot. Result: the total, or -errno; a short send is -EPIPE. `SEND_LAZY`, for answers that nobody here waits to be rid of: the
   * completion may be told together with the next one of another operation, {@link LAZY_MS} later at most.
   */
  send(slot: Slot, gather: Gather, flags: number, client: ClientId, tag: number): void;
  /** Result: bytes read; short only at the end of the file. `direct` files want offset, length and file offset in multiples of 512. */
  read(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number, client: ClientId, tag: number): void;
  /** With `WRITE_DSYNC` the completion means: on stable storage. Result: `lengthBytes`, or -errno; a short write is completed or reported as -EIO. */
  write(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number, flags: number, client: ClientId, tag: number): void;
  /** fdatasync: covers the writes *completed* before this call. */
  sync(slot: Slot, client: ClientId, tag: number): void;
  /** fallocate(2) with `mode` of {@link AllocateMode}. */
  allocate(slot: Slot, mode: number, fileOffsetBytes: number, lengthBytes: number, client: ClientId, tag: number): void;
  /**
   * Cancels what is outstanding on the slot (each such operation still completes, with -ECANCELED or its
   * result), then closes it; the close's own completion is the last of that slot. Result 0.
   */
  close(slot: Slot, client: ClientId, tag: number): void;
  /**
   * Ends what waits for the peer and leaves the slot as good as it was: an outstanding recv or accept completes with what has come by then, or with
   * -ECANCELED. No effect where nothing is outstanding. Throws ERR_SLOT while a send is outstanding: nobody could say how much of it has gone.
   */
  interrupt(slot: Slot): void;
  /** Shuts a socket down in both directions, now. Outstanding operations complete soon; a receive then ends with 0 at last, a send with -EPIPE. */
  shutdown(slot: Slot): void;
  /** Fires once, in the first turn that begins `delayNs` from now or later; result 0. At most {@link MAX_TIMERS} armed. */
  timer(delayNs: number, client: ClientId, tag: number): TimerId;
  /** A cancelled timer does not complete. No effect on one that has fired. */
  cancelTimer(id: TimerId): void;

  // ---- life
  /** A handle that may be posted to other threads, which call {@link wake} with it. Each wake (several may merge) calls `onWake` of every listener. */
  readonly wakeHandle: WakeHandle;
  onWake(listener: () => void): void;
  /**
   * Turns until {@link stop}; the first turn does not wait, so that turn-end hooks can begin. io_uring blocks the thread in the ring, where it
   * looks up ten times a second, so that the process can end; libuv returns to Node's loop in between. Rejects with what a client or a hook
   * throws: then the engine is good for {@link destroy} alone.
   */
  run(): Promise<void>;
  /** From within a turn or, through a wake, from anywhere: `run` resolves at the end of the turn. */
  stop(): void;
  /** After `run` has ended: cancels what is outstanding, without a completion, closes all slots, frees the ring. */
  destroy(): void;
  /** Operations enqueued whose completion is still to come, without timers. */
  readonly outstanding: number;
}

export interface EngineClient {
  /** One completion. `tag` is what the operation was enqueued with (0 to {@link MAX_TAG}). */
  onCompletion(tag: number, result: number): void;
}

export type Slot = number;
export type ClientId = number;
export type TimerId = number;
export type SlotKind = 'file' | 'socket' | 'listener';

/** `host` is a numeric address of IPv4 or IPv6: names are not looked up. */
export type SocketAddress =
  { readonly family: 'unix'; readonly path: string } | { readonly family: 'tcp'; readonly host: string; readonly port: number };

export interface ListenOptions {
  readonly backlog?: number;
  /** Permission bits of a Unix socket file; 0o600 by default. */
  readonly mode?: number;
}

/** Structured-cloneable: another thread wakes the engine with {@link wake}. */
export interface WakeHandle {
  readonly signal: SharedArrayBuffer;
  /** An eventfd of this process, or -1 (libuv: waits on `signal`). */
  readonly eventFd: number;
}

export const MAX_CLIENTS = 127;
export const MAX_TAG = 0xff_ffff;
export const MAX_SLOTS = 16_384;
export const MAX_TIMERS = 4_096;
/** Most pieces of memory one `send` may name (Linux IOV_MAX). */
export const MAX_GATHER = 1_024;
/** Most bytes one `recv` or `send` may carry (Linux MAX_RW_COUNT). */
export const MAX_TRANSFER_BYTES = 0x7fff_f000;

export const RECV_ALL = 1;
export const SEND_LAZY = 1;
export const LAZY_MS = 100;
export const WRITE_DSYNC = 1;

/** fallocate(2) modes that the engines carry out. */
export const AllocateMode = { preallocate: 0, keepSize: 1, punchHole: 3, zeroRange: 16 } as const;
