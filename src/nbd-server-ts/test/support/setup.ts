import type { SocketAddress } from 'uring-engine';
import type {
  CloseOptions,
  FileExportOptions,
  MemoryExportOptions,
  HandedOver,
  MovedConnection,
  ServerCounters,
  ServerLimits,
  TlsCredentials,
} from '../../src/index.js';

/** What a server of a test is made of; goes to its thread. */
export interface ServerSetup {
  readonly engine: 'io_uring' | 'libuv';
  readonly address: SocketAddress | null;
  readonly memory: readonly MemoryExportOptions[];
  readonly files: readonly FileExportOptions[];
  readonly limits?: Partial<ServerLimits>;
  readonly tls?: { readonly mode: 'selective' | 'forced'; readonly credentials: TlsCredentials };
  readonly offerList?: boolean;
  /** Memory exports are behind gates. */
  readonly gated?: boolean;
  /** An export `huge` ({@link HugeExport}), which fails from that offset on, or nowhere (Infinity). */
  readonly hugeFailFrom?: number;
  /** Connections are handed out when they are negotiated. */
  readonly moveAll?: boolean;
}

export type Command =
  | { readonly kind: 'status' }
  | { readonly kind: 'gate'; readonly open: boolean }
  | { readonly kind: 'let'; readonly count: number; readonly newestFirst: boolean }
  | { readonly kind: 'fail'; readonly from: number | null; readonly errno: number }
  | { readonly kind: 'adopt'; readonly moved: MovedConnection }
  /** The thread does nothing for so long. */
  | { readonly kind: 'standStill'; readonly ms: number }
  | { readonly kind: 'disconnect'; readonly name: string }
  | { readonly kind: 'handOver'; readonly deadlineMs: number }
  | { readonly kind: 'takeBack'; readonly handed: HandedOver }
  | { readonly kind: 'close'; readonly options: CloseOptions }
  | { readonly kind: 'stop' };

export interface Status {
  readonly counters: ServerCounters;
  readonly waiting: number;
  readonly sessionsOpen: number;
  readonly probed: { readonly received: number; readonly replied: number };
  readonly outstanding: number;
  readonly asked: readonly [number, number, number][];
  readonly mostAtOnce: number;
}
