import type { Arena, Gather } from 'uring-engine';

/** The names a server offers. Asked during the handshake only. */
export interface ExportDirectory {
  /** The export of that name; `''` is the default export. Undefined: unknown to clients. */
  find(name: string): Export | undefined;
  /** What NBD_OPT_LIST answers. */
  list(): Iterable<{ readonly name: string; readonly description: string }>;
}

/** What a server offers under a name. Implemented by whoever keeps the data. */
export interface Export {
  /** UTF-8, at most 4096 bytes, no NUL. */
  readonly name: string;
  readonly description: string;
  /** Exact up to 2^53 − 1. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly features: ExportFeatures;
  readonly blockSize: BlockSizes;
  /**
   * Metadata contexts beside base:allocation, as NAMESPACE:NAME (`qemu:dirty-bitmap:daily`, `qemu:allocation-depth`); at most 15, and only
   * with `features.blockStatus`. Their numbers are their places here, from 1 ({@link ExportRequest.context}).
   */
  readonly contexts?: readonly string[];
  /** Clients are told of it, and let in, in TLS alone (where the server offers TLS; else it is unknown). */
  readonly requiresTls?: boolean;
  /**
   * NBD_CMD_RESIZE (experimental; announced where this is there and the export not read-only): makes the export `sizeBytes` long, then calls `done` once with 0,
   * or with a positive Linux errno. `sizeBytes` of the export is the new size by then; the server lets its connections know.
   */
  resize?(sizeBytes: number, done: (errno: number) => void): void;
  /**
   * A connection enters the transmission phase on this export. From here until {@link ExportSession.close}
   * the connection sends its requests there.
   */
  open(): ExportSession;
}

export interface ExportFeatures {
  readonly flush: boolean;
  readonly fua: boolean;
  readonly trim: boolean;
  readonly writeZeroes: boolean;
  /** WRITE_ZEROES never writes out zeroes: FAST_ZERO is kept at once. */
  readonly fastZero: boolean;
  readonly cache: boolean;
  /** FLUSH on one connection covers the writes completed on every other (NBD_FLAG_CAN_MULTI_CONN). */
  readonly multiConn: boolean;
  readonly rotational: boolean;
  /** Offers base:allocation. */
  readonly blockStatus: boolean;
}

export interface BlockSizes {
  /** Power of two from 1 to 65536. */
  readonly minimumBytes: number;
  readonly preferredBytes: number;
  readonly maximumBytes: number;
}

export interface ExportSession {
  /**
   * Starts one request. It is validated: inside the export, within `maxPieceBytes`, allowed by the features.
   * The answer is `request.finish(errno)`, in this call or later, once, in any order among requests.
   */
  submit(request: ExportRequest): void;
  /** The connection has ended and every request has been finished and released. */
  close(): void;
}

export const ExportOp = { read: 0, write: 1, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 } as const;
export type ExportOp = (typeof ExportOp)[keyof typeof ExportOp];

/**
 * One request, or one piece of a large one (the server cuts READ and WRITE at `maxPieceBytes`, 1 MiB, so that
 * buffers stay bounded; TRIM, WRITE_ZEROES and CACHE at 2^32 − 2^16 bytes). Pooled by the server: an export keeps no reference after `finish`.
 */
export interface ExportRequest {
  readonly arena: Arena;
  readonly op: ExportOp;
  /** Durable before it is finished (NBD_CMD_FLAG_FUA). */
  readonly fua: boolean;
  /** WRITE_ZEROES only: NBD_CMD_FLAG_NO_HOLE. */
  readonly noHole: boolean;
  /** BLOCK_STATUS only: one extent is enough (NBD_CMD_FLAG_REQ_ONE). */
  readonly requestOne: boolean;
  /** WRITE_ZEROES only: NBD_CMD_FLAG_FAST_ZERO. Finish with EOPNOTSUPP rather than write zeroes out. Never set where the feature is not offered. */
  readonly fastZero: boolean;
  /** BLOCK_STATUS only: which metadata context is asked for: 0 base:allocation, n the export's `contexts[n - 1]`. */
  readonly context: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** WRITE: the payload, in the server's buffers, readable until `finish` (or until `payloadTaken`). */
  readonly payload: Gather;
  /** WRITE: the export has copied the payload; the server may reuse its buffers at once. Optional. */
  payloadTaken(): void;
  /**
   * READ: the export adds the arena ranges that hold the data, `lengthBytes` in total, before it finishes the request.
   * They stay as they are until `released` is called: from there the data goes to the socket without a copy.
   * Room: one range for each 4 KiB page that the request touches, and one more.
   */
  readonly data: Gather;
  /** READ: called by the server once, when the ranges in `data` are sent or given up. Set by the export before `finish`. */
  released: ReleaseListener | null;
  /** An index or object of the export's own, for the way back. */
  exportTag: number;
  /** BLOCK_STATUS: adds an extent; the first starts at `offsetBytes`. `flags`: NBD_STATE_HOLE 1, NBD_STATE_ZERO 2, or what the context says (32 bits). Returns false when no more fit. */
  addExtent(lengthBytes: number, flags: number): boolean;
  /** `errno` 0, or a positive Linux errno; it is mapped to the codes that NBD has. */
  finish(errno: number): void;
}

export interface ReleaseListener {
  onReleased(request: ExportRequest): void;
}
