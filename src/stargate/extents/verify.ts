import { crc32c } from '@node-rs/crc32';
import type { Arena, FileSystem, Slot } from 'uring-engine';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState } from '../core/ports.js';
import { ChunkTable, decodeChunk, placeSeed } from '../store/chunk.js';
import { ifWhole } from '../store/errors.js';
import { chunkKey, decodeLayer, decodeSegment, KeyKind, keyAfter, parseKey, segmentKey } from '../store/format.js';
import { CHUNK_BLOCKS } from '../store/limits.js';
import type { RecordReader } from '../store/records.js';
import type { Finding } from '../store/verify.js';
import { checkExtentFormat, ExtentError, extentPath, formatPath, layerPath, parseExtentName, parseLayerName } from './layout.js';

export interface VerifyExtentsOptions {
  readonly files: FileSystem;
  readonly arena: Arena;
  /** A range of the arena to read through: one chunk, 256 KiB. */
  readonly scratchOffset: number;
  readonly root: string;
  /** The block store. Its damaged records are passed over: `verifyStore` tells them. */
  readonly records: RecordReader;
  /** Whether the log holds something newer for the block: then the extent may hold a mixture, which the log mends. */
  readonly pending?: (layer: number, segment: number, block: number) => boolean;
  /** Its data may be newer than what the store says of it: it was being brought up from other nodes, and will be again. */
  readonly mayBeAhead?: (layer: number) => boolean;
  readonly onProgress?: (readBytes: number) => void;
}

const UNKNOWN_SEGMENT = { dataBlocks: 0, baseState: BlockState.absent };
const ZEROES = Buffer.alloc(BLOCK_BYTES);

/** Bytes of the arena that {@link verifyExtents} reads through. */
export const VERIFY_SCRATCH_BYTES = CHUNK_BLOCKS * BLOCK_BYTES;

/** Checks each data block's checksum, and that files and records go together. Offline: nobody writes meanwhile. */
export function verifyExtents(options: VerifyExtentsOptions): Finding[] {
  const findings: Finding[] = [];
  checkFormatFile(options, findings);
  const layers = new Map<number, Set<number>>();
  for (const [key, record] of prefixed(options.records, Buffer.from([KeyKind.layer]))) {
    const { layer } = parseKey(key)!;
    // Of a layer being deleted any part may be gone.
    if (ifWhole(() => decodeLayer(layer, record))?.deleting === false) layers.set(layer, verifyLayer(options, layer, findings));
    else layers.set(layer, new Set(filesOf(options, layer, [])));
  }
  verifyNames(options, layers, findings);
  return findings;
}

/** Returns the segments that the store knows. */
function verifyLayer(options: VerifyExtentsOptions, layer: number, findings: Finding[]): Set<number> {
  const known = new Set<number>();
  for (const [key, record] of prefixed(options.records, segmentKey(layer, 0).subarray(0, 5))) {
    const { segment } = parseKey(key)!;
    known.add(segment);
    const { dataBlocks, baseState } = ifWhole(() => decodeSegment(layer, segment, record)) ?? UNKNOWN_SEGMENT;
    if (options.files.exists(extentPath(options.root, layer, segment))) verifySegment(options, layer, segment, baseState, findings);
    else if (dataBlocks > 0)
      findings.push(
        finding('error', 'extent-missing', layer, segment, -1, `the file is missing; the store has ${dataBlocks} data blocks of it`),
      );
  }
  return known;
}

function verifySegment(options: VerifyExtentsOptions, layer: number, segment: number, baseState: BlockState, findings: Finding[]): void {
  const { files, root } = options;
  const table = new ChunkTable(1);
  const slot = files.open(extentPath(root, layer, segment), { direct: true });
  try {
    if (files.sizeBytes(slot) > BLOCKS_PER_SEGMENT * BLOCK_BYTES)
      findings.push(finding('error', 'extent-size', layer, segment, -1, 'the file is longer than a segment'));
    const known = new Set<number>();
    for (const [key, record] of prefixed(options.records, chunkKey(layer, segment, 0).subarray(0, 9))) {
      const { chunk } = parseKey(key)!;
      known.add(chunk);
      const isWhole = ifWhole(() => (decodeChunk(record, record.length, placeSeed(layer, segment, chunk), table, 0), true));
      if (isWhole === true) verifyChunk(options, slot, layer, segment, chunk, table, findings);
    }
    table.fill(0, baseState, 0);
    for (const chunk of chunksWithData(options, slot))
      if (!known.has(chunk)) verifyChunk(options, slot, layer, segment, chunk, table, findings);
  } finally {
    files.close(slot);
  }
}

/** Chunks of the file that are no holes, as far as the file system tells them apart. */
function* chunksWithData({ files }: VerifyExtentsOptions, slot: Slot): Generator<number> {
  const endBytes = Math.min(files.sizeBytes(slot), BLOCKS_PER_SEGMENT * BLOCK_BYTES);
  for (let at = files.nextData(slot, 0); at < endBytes;) {
    const chunk = Math.floor(at / VERIFY_SCRATCH_BYTES);
    yield chunk;
    at = files.nextData(slot, (chunk + 1) * VERIFY_SCRATCH_BYTES);
  }
}

function verifyChunk(
  options: VerifyExtentsOptions,
  slot: Slot,
  layer: number,
  segment: number,
  chunk: number,
  table: ChunkTable,
  findings: Finding[],
): void {
  const { files, arena, scratchOffset, pending, mayBeAhead, onProgress } = options;
  const window = arena.bytes.subarray(scratchOffset, scratchOffset + VERIFY_SCRATCH_BYTES);
  const read = files.read(slot, scratchOffset, VERIFY_SCRATCH_BYTES, chunk * VERIFY_SCRATCH_BYTES);
  window.fill(0, read);
  onProgress?.(VERIFY_SCRATCH_BYTES);
  for (let i = 0; i < CHUNK_BLOCKS; i++) {
    const bytes = window.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
    const block = chunk * CHUNK_BLOCKS + i;
    if (table.state[i] === BlockState.data) {
      const found = crc32c(bytes);
      if (found === table.crc[i]) continue;
      const severity = pending?.(layer, segment, block) === true || mayBeAhead?.(layer) === true ? 'notice' : 'error';
      const message = `CRC32C ${hex(found)}, the store has ${hex(table.crc[i]!)} at seq ${table.seq[i]}`;
      findings.push(finding(severity, 'extent-checksum', layer, segment, block, message));
    } else if (table.state[i] !== BlockState.lost && !ZEROES.equals(bytes) && pending?.(layer, segment, block) !== true) {
      // Where holes cannot be punched, what was trimmed stays.
      const isError = table.state[i] === BlockState.absent && mayBeAhead?.(layer) !== true;
      const message = `the file has data, the store says that there is none: the store may be older than its extents`;
      findings.push(finding(isError ? 'error' : 'notice', 'extent-stray', layer, segment, block, message));
    }
  }
}

/** Files without a record: a crash between the creation of a file and the commit of its first drain leaves such. */
function verifyNames(options: VerifyExtentsOptions, layers: ReadonlyMap<number, ReadonlySet<number>>, findings: Finding[]): void {
  for (const name of options.files.list(options.root)) {
    if (name === 'format') continue;
    const layer = parseLayerName(name);
    if (layer < 0) {
      findings.push(finding('notice', 'extent-foreign', -1, -1, -1, `"${name}" is no name of a layer`));
      continue;
    }
    const known = layers.get(layer);
    for (const segment of filesOf(options, layer, findings)) {
      if (known?.has(segment) === true) continue;
      findings.push(
        finding(
          'notice',
          'extent-unrecorded',
          layer,
          segment,
          -1,
          'the store knows nothing of this file; the next drain or removal takes it',
        ),
      );
    }
  }
}

function filesOf({ files, root }: VerifyExtentsOptions, layer: number, findings: Finding[]): number[] {
  if (!files.exists(layerPath(root, layer))) return [];
  const segments: number[] = [];
  for (const name of files.list(layerPath(root, layer))) {
    const segment = parseExtentName(name);
    if (segment >= 0) segments.push(segment);
    else findings.push(finding('notice', 'extent-foreign', layer, -1, -1, `"${name}" is no name of an extent file`));
  }
  return segments;
}

function checkFormatFile({ files, arena, scratchOffset, root }: VerifyExtentsOptions, findings: Finding[]): void {
  try {
    const slot = files.open(formatPath(root), {});
    const page = arena.bytes.subarray(scratchOffset, scratchOffset + BLOCK_BYTES);
    page.fill(0);
    files.read(slot, scratchOffset, BLOCK_BYTES, 0);
    files.close(slot);
    checkExtentFormat(page, root);
  } catch (error) {
    const message = error instanceof ExtentError ? error.message : `${formatPath(root)} cannot be read: ${(error as Error).message}`;
    findings.push(finding('error', 'extent-format', -1, -1, -1, message));
  }
}

function prefixed(records: RecordReader, prefix: Buffer): Iterable<readonly [Uint8Array, Uint8Array]> {
  return records.range(prefix, keyAfter(prefix));
}

function finding(severity: Finding['severity'], code: string, layer: number, segment: number, block: number, message: string): Finding {
  return { severity, code, layer, segment, block, message };
}

const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`;
