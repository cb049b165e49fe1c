export { NbdServer, type CloseOptions, type NbdServerOptions, type ServerLog } from './server.js';
export type { LeftConnection, MovedConnection } from './connection-host.js';
export { ServerCounters, type ServerProbes } from './counters.js';
export type { HandedOver, HandOverListener, LeftListener } from './hand-over.js';
export type { PausedHandshake } from './handshake/handshake.js';
export { NbdServerError, type NbdServerErrorCode } from './errors.js';
export {
  ExportOp,
  type BlockSizes,
  type Export,
  type ExportDirectory,
  type ExportFeatures,
  type ExportRequest,
  type ExportSession,
  type ReleaseListener,
} from './export.js';
export { ExportMap } from './exports/directory.js';
export { FILE_EXPORT_REGION_BYTES, FileExport, type FileExportOptions } from './exports/file-export.js';
export { MemoryExport, type MemoryExportOptions } from './exports/memory-export.js';
export type { Negotiated, TlsMode } from './handshake/negotiation.js';
export {
  DEFAULT_LIMITS,
  MAX_EXTENTS,
  MAX_PAYLOAD_BYTES,
  MAX_PIECE_BYTES,
  MAX_REQUESTS_PER_CONNECTION,
  serverRegionBytes,
  type ServerLimits,
} from './limits.js';
export { checkExport } from './protocol/export-info.js';
export { TlsThread, type TlsCredentials, type TlsHandover, type TlsTerminator } from './tls/tls-thread.js';
