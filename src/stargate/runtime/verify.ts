import type { Arena, FileSystem } from 'uring-engine';
import { Where, type BlockIndex } from '../core/block-index.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, type LayerId } from '../core/ports.js';
import { VERIFY_SCRATCH_BYTES, verifyExtents } from '../extents/verify.js';
import { VERIFY_OPLOG_SCRATCH_BYTES, verifyOplog, type OplogFinding } from '../oplog/index.js';
import type { StreamVdiskLog } from '../oplog/index.js';
import { StoreImage } from '../store/image.js';
import { CHUNK_BLOCKS } from '../store/limits.js';
import type { RecordReader } from '../store/records.js';
import { verifyStore, type Finding } from '../store/verify.js';
import { RecoveryCollector } from './recovery.js';
import { pendingOf, RecordFacts, verifyLog } from './verify-log.js';

/** What is wrong in what a Stargate keeps, by vdisk where it is known. */
export interface StargateFinding {
  /** `notice`: what a crash may leave, or what has been mended since. */
  readonly severity: 'error' | 'notice';
  /** Stable. */
  readonly code: string;
  /** In the Stargate's directory; '': not of one file. */
  readonly file: string;
  readonly vdiskId: string | null;
  /** Of the vdisk; -1: as a whole, or not known. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly message: string;
}

export interface VerifyStargateOptions {
  readonly files: FileSystem;
  readonly arena: Arena;
  /** {@link VERIFY_STARGATE_SCRATCH_BYTES} of the arena, page-aligned. */
  readonly scratchOffset: number;
  readonly directory: string;
  readonly streams: number;
  /** What the metadata says of it. Missing: the metadata is elsewhere. */
  readonly known?: (vdiskId: string) => 'there' | 'deleting' | 'unknown';
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** What replicas have is kept, for a look at several nodes. */
  readonly keepReplicas?: boolean;
}

/** What the log of a replica has, to be held against another one's. */
export interface VerifiedReplica {
  readonly historyId: number;
  /** The last entry that its extents have. */
  readonly drained: { readonly seq: number; readonly term: number; readonly hash: number };
  readonly entries: readonly { readonly seq: number; readonly creationTerm: number; readonly hash: number }[];
}

export interface VerifiedStargate {
  readonly findings: readonly StargateFinding[];
  /** Highest term that the log of a vdisk knows. */
  readonly terms: ReadonlyMap<string, number>;
  /** Of vdisks that several nodes hold, by vdisk; empty unless it was asked for. */
  readonly replicas: ReadonlyMap<string, VerifiedReplica>;
  readonly vdisks: number;
  readonly logBytes: number;
  readonly extentBytes: number;
}

export const VERIFY_STARGATE_SCRATCH_BYTES = Math.max(VERIFY_OPLOG_SCRATCH_BYTES, VERIFY_SCRATCH_BYTES);

/** Checks each format of a Stargate's directory, and that they go together. Offline: nobody writes meanwhile. Changes nothing. */
export function verifyStargate(options: VerifyStargateOptions): VerifiedStargate {
  let image: StoreImage;
  const path = `${options.directory}/store/data.mdb`;
  try {
    image = new StoreImage(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && isNew(options)) return { findings: [], ...NOTHING };
    const message = `the block store cannot be read: ${(error as Error).message}`;
    const finding = { severity: 'error', code: 'store-database', file: 'store/data.mdb', ...NO_PLACE, message } as const;
    return { findings: [finding], ...NOTHING };
  }
  try {
    return verifyStargateRecords(options, image);
  } finally {
    image.close();
  }
}

/** The same with the records of the block store from wherever they are. */
export function verifyStargateRecords(options: VerifyStargateOptions, records: StoreRecords): VerifiedStargate {
  return new StargateVerifier(options, records).verify();
}

/** The records of a block store, and what is wrong with the database that has them. */
export type StoreRecords = RecordReader & Pick<StoreImage, 'check'>;

const NOTHING = { terms: new Map(), replicas: new Map(), vdisks: 0, logBytes: 0, extentBytes: 0 };
const NO_PLACE = { vdiskId: null, offsetBytes: -1, lengthBytes: -1 };

/** A start that was killed before there was anything. */
function isNew({ files, directory }: VerifyStargateOptions): boolean {
  return ['extents', 'oplog/stream-0'].every(
    name => !files.exists(`${directory}/${name}`) || files.list(`${directory}/${name}`).length === 0,
  );
}

class StargateVerifier {
  readonly #findings: StargateFinding[] = [];
  readonly #facts: RecordFacts;
  /** By layer: what may be newer in the log. */
  readonly #pending = new Map<LayerId, BlockIndex>();
  readonly #replicated = new Set<LayerId>();
  readonly #terms = new Map<string, number>();
  readonly #replicas = new Map<string, VerifiedReplica>();
  readonly #sound = new Set<string>();
  #vdisks = 0;
  #logBytes = 0;
  #extentBytes = 0;
  #doneBytes = 0;
  #totalBytes: number;

  constructor(
    readonly options: VerifyStargateOptions,
    readonly image: StoreRecords,
  ) {
    this.#facts = new RecordFacts(image);
    this.#totalBytes = [...this.#facts.vdiskOf.keys()].reduce((sum, layer) => sum + this.#dataBytes(layer), 0);
  }

  verify(): VerifiedStargate {
    for (const { page, message } of this.image.check()) {
      const where = page < 0 ? '' : `page ${page}: `;
      this.#tell('error', 'store-database', 'store/data.mdb', NO_PLACE, `${where}${message}`);
    }
    for (const finding of verifyStore(this.image)) this.#tellStore(finding, 'store/data.mdb');
    for (let stream = 0; stream < this.options.streams; stream++) this.#verifyStream(stream);
    this.#verifyReferences();
    this.#verifyExtents();
    const [vdisks, logBytes, extentBytes] = [this.#vdisks, this.#logBytes, this.#extentBytes];
    return { findings: this.#findings, terms: this.#terms, replicas: this.#replicas, vdisks, logBytes, extentBytes };
  }

  #verifyStream(stream: number): void {
    const { files, arena, scratchOffset, directory } = this.options;
    const file = `oplog/stream-${stream}`;
    if (!files.exists(`${directory}/${file}`)) {
      // The streams are made by the shards, each when it starts.
      if (this.#facts.vdiskOf.size > 0)
        this.#tell('error', 'oplog-missing', file, NO_PLACE, 'the log is missing: restore the data directory');
      return;
    }
    const collector = new RecoveryCollector(arena, this.#facts);
    const logs: StreamVdiskLog[] = [];
    const findings = verifyOplog({
      files,
      arena,
      scratchOffset,
      directory: `${directory}/${file}`,
      visitor: collector,
      onProgress: (readBytes, totalBytes) => this.#readLog(readBytes, totalBytes),
      onRead: ({ vdisks, report }) => {
        logs.push(...vdisks.values());
        this.#logBytes += report.bytes;
      },
    });
    this.#endLog();
    for (const log of logs) this.#verifyVdisk(log, collector, file);
    for (const finding of findings) this.#tellOplog(finding, file);
  }

  #verifyVdisk(log: StreamVdiskLog, collector: RecoveryCollector, file: string): void {
    const { vdiskId } = log;
    const vdisk = collector.vdisks.get(vdiskId);
    const layers = this.#facts.layersOf(vdiskId);
    this.#terms.set(vdiskId, log.lastTerm);
    if (this.options.keepReplicas === true && vdisk?.replica?.head != null) {
      const { head, entries } = vdisk.replica;
      const kept = [...entries.values()].map(({ seq, creationTerm, hash }) => ({ seq, creationTerm, hash }));
      this.#replicas.set(vdiskId, { historyId: log.historyId, drained: head.drained, entries: kept });
    }
    if (vdisk !== undefined) {
      for (const layer of layers) {
        this.#pending.set(layer, pendingOf(vdisk, this.#facts));
        if (vdisk.replica !== null) this.#replicated.add(layer);
      }
    }
    const layer = vdisk?.replica?.head?.layer ?? vdisk?.head?.layer ?? layers.at(-1) ?? -1;
    if (!this.#isThere(vdiskId, layer)) return void this.#sound.add(vdiskId);
    this.#vdisks++;
    const problems = verifyLog(log, vdisk, this.#facts);
    if (problems.length === 0) this.#sound.add(vdiskId);
    for (const { code, message, offsetBytes, lengthBytes } of problems)
      this.#tell('error', code, file, { vdiskId, offsetBytes, lengthBytes }, message);
  }

  /** Of a vdisk that has been deleted the log keeps entries until they are written over. Its files go first, then its layer's record. */
  #isThere(vdiskId: string, layer: LayerId): boolean {
    const { files, directory, known } = this.options;
    if (known !== undefined) return known(vdiskId) === 'there';
    return (
      this.#facts.layersOf(vdiskId).length > 0 || this.#facts.damagedLayers().length > 0 || files.exists(`${directory}/extents/${layer}`)
    );
  }

  #tellOplog({ severity, code, fromLsn, toLsn, segment, vdisks, blocks, message }: OplogFinding, directory: string): void {
    const file = segment === '' ? directory : `${directory}/${segment}`;
    const place = fromLsn < 0 ? '' : toLsn < 0 || toLsn === Infinity ? ` at position ${fromLsn}` : ` at positions ${fromLsn} to ${toLsn}`;
    // What a start has found, and others have given since.
    const isRefilled = code === 'oplog-rot' && vdisks.length > 0 && vdisks.every(id => this.#sound.has(id));
    const told = isRefilled ? ('notice' as const) : severity;
    const text = `${message}${place}${isRefilled ? '; what lay here is whole elsewhere, or needed no more' : ''}`;
    if (vdisks.length === 0) return this.#tell(told, code, file, NO_PLACE, text);
    const { offsetBytes, lengthBytes } = blocks ?? { offsetBytes: -1, lengthBytes: -1 };
    for (const vdiskId of vdisks) this.#tell(told, code, file, { vdiskId, offsetBytes, lengthBytes }, text);
  }

  /** Layers of vdisks that are not there; vdisks of which there is data and no log. */
  #verifyReferences(): void {
    const { known } = this.options;
    for (const [layer, vdiskId] of this.#facts.vdiskOf) {
      const place = { vdiskId, offsetBytes: -1, lengthBytes: -1 };
      if (known?.(vdiskId) === 'unknown') {
        this.#tell(
          'error',
          'layer-orphan',
          'store/data.mdb',
          place,
          `layer ${layer} is of a vdisk that the metadata does not know: the metadata is older than the data`,
        );
      } else if (known?.(vdiskId) !== 'deleting' && !this.#terms.has(vdiskId) && this.#facts.segments(layer).length > 0) {
        this.#tell('error', 'log-missing', 'oplog', place, 'its data is there, and the log has nothing of it');
      }
    }
  }

  #verifyExtents(): void {
    const { files, arena, scratchOffset, directory } = this.options;
    const root = `${directory}/extents`;
    if (!files.exists(root)) {
      if (this.#facts.vdiskOf.size > 0)
        this.#tell('error', 'extents-missing', 'extents', NO_PLACE, 'the extents are missing: restore the data directory');
      return;
    }
    const findings = verifyExtents({
      files,
      arena,
      scratchOffset,
      root,
      records: this.image,
      pending: (layer, segment, block) =>
        (this.#pending.get(layer)?.find(segment * BLOCKS_PER_SEGMENT + block) ?? Where.notHere) !== Where.notHere,
      mayBeAhead: layer => this.#replicated.has(layer),
      onProgress: bytes => {
        this.#extentBytes += bytes;
        this.#progress(this.#doneBytes + this.#extentBytes);
      },
    });
    for (const run of runsOf(findings)) this.#tellStore(run, this.#extentFile(run), run.blocks);
  }

  #extentFile({ layer, segment }: Finding): string {
    return layer < 0 ? 'extents' : segment < 0 ? `extents/${layer}` : `extents/${layer}/${segment}.ext`;
  }

  /** `blocks`: from the finding's block on. A record of the store is of a chunk's blocks, or of a segment's. */
  #tellStore({ severity, code, layer, segment, block, message }: Finding, file: string, blocks = CHUNK_BLOCKS): void {
    const vdiskId = this.#facts.vdiskOf.get(layer) ?? null;
    const first = segment * BLOCKS_PER_SEGMENT;
    const place =
      segment < 0
        ? { vdiskId, offsetBytes: -1, lengthBytes: -1 }
        : block < 0
          ? { vdiskId, offsetBytes: first * BLOCK_BYTES, lengthBytes: BLOCKS_PER_SEGMENT * BLOCK_BYTES }
          : { vdiskId, offsetBytes: (first + block) * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES };
    this.#tell(severity, code, file, place, vdiskId === null && layer >= 0 ? `layer ${layer}: ${message}` : message);
  }

  #tell(
    severity: StargateFinding['severity'],
    code: string,
    file: string,
    place: Pick<StargateFinding, 'vdiskId' | 'offsetBytes' | 'lengthBytes'>,
    message: string,
  ): void {
    this.#findings.push({ severity, code, file, ...place, message });
  }

  // ---------------------------------------------------------------- progress

  #logTotalBytes = 0;

  #readLog(readBytes: number, totalBytes: number): void {
    if (this.#logTotalBytes === 0) {
      this.#logTotalBytes = totalBytes;
      this.#totalBytes += totalBytes;
    }
    this.#progress(this.#doneBytes + readBytes);
  }

  #endLog(): void {
    this.#doneBytes += this.#logTotalBytes;
    this.#logTotalBytes = 0;
  }

  #progress(doneBytes: number): void {
    this.options.onProgress?.(Math.min(doneBytes, this.#totalBytes), this.#totalBytes);
  }

  #dataBytes(layer: LayerId): number {
    return this.#facts.segments(layer).reduce((sum, { dataBlocks }) => sum + dataBlocks * BLOCK_BYTES, 0);
  }
}

/** Blocks next to each other with one kind of damage are one finding. */
function runsOf(findings: readonly Finding[]): (Finding & { blocks: number })[] {
  const runs: (Finding & { blocks: number })[] = [];
  for (const finding of findings) {
    const last = runs.at(-1);
    const isNext =
      last !== undefined &&
      finding.block >= 0 &&
      last.block + last.blocks === finding.block &&
      (['severity', 'code', 'layer', 'segment'] as const).every(field => last[field] === finding[field]);
    if (isNext) last.blocks++;
    else runs.push({ ...finding, blocks: 1 });
  }
  return runs;
}
