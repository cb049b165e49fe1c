import { AllocateMode, type Arena, type FileSystem, type Slot } from 'uring-engine';
import {
  batchSeed,
  decodeSegmentHeader,
  emptySegmentHeader,
  encodeSegmentHeader,
  type SegmentHeader,
  type SegmentHeaderState,
} from './codec.js';
import { newName, SEGMENT_DATA_OFFSET, segmentName } from './layout.js';
import { PAGE_BYTES, PREPARE_CHUNK_BYTES } from './limits.js';

/** One segment file, open. */
export class Segment {
  /** Position where the next segment takes over; Infinity while this one is written. */
  endLsn = Infinity;
  /** Reads under way: the space is not reused before they have ended. */
  pins = 0;
  seed = 0;

  constructor(
    readonly number: number,
    readonly slot: Slot,
    readonly header: SegmentHeader,
  ) {
    this.seed = batchSeed(header);
  }

  /** First position behind the file's last byte. */
  get limitLsn(): number {
    return this.header.startLsn + this.header.segmentBytes - SEGMENT_DATA_OFFSET;
  }

  get dataBytes(): number {
    return this.header.segmentBytes - SEGMENT_DATA_OFFSET;
  }

  fileOffset(lsn: number): number {
    return lsn - this.header.startLsn + SEGMENT_DATA_OFFSET;
  }

  /** A new use of the file, from `startLsn` on. What lies in it from the use before has another seed and is no batch any more. */
  reuse(startLsn: number, tailLsn: number): void {
    this.header.reuse++;
    this.header.startLsn = startLsn;
    this.header.tailLsn = tailLsn;
    this.endLsn = Infinity;
    this.seed = batchSeed(this.header);
  }
}

export function freshHeader(segmentBytes: number, fillRandom: (words: Uint32Array) => void): SegmentHeader {
  const words = new Uint32Array(4);
  fillRandom(words);
  return { ...emptySegmentHeader(), uuid0: words[0]!, uuid1: words[1]!, uuid2: words[2]!, uuid3: words[3]!, segmentBytes };
}

/** What a start and the background preparation need to make files. */
export interface SegmentPlace {
  readonly files: FileSystem;
  readonly arena: Arena;
  readonly directory: string;
  readonly segmentBytes: number;
  /** PREPARE_CHUNK_BYTES of zeroes in the arena, or as many as a segment has. */
  readonly zeroesOffset: number;
  /** One page in the arena for headers. */
  readonly headerOffset: number;
  readonly fillRandom: (words: Uint32Array) => void;
}

/**
 * Makes a segment file, synchronously: only for the first ones of a new stream. Crash order: (1) the file under its `.new` name: removed by the next
 * start; (2) zeroes and header synced; (3) renamed; (4) the name synced: from here on the log may use it.
 */
export function makeSegment(place: SegmentPlace, number: number): Segment {
  const { files, directory, segmentBytes } = place;
  const path = `${directory}/${newName(number)}`;
  const slot = files.open(path, { write: true, create: true, direct: true });
  files.allocate(slot, AllocateMode.preallocate, 0, segmentBytes);
  for (let at = 0; at < segmentBytes; at += PREPARE_CHUNK_BYTES) {
    files.write(slot, place.zeroesOffset, Math.min(PREPARE_CHUNK_BYTES, segmentBytes - at), at);
  }
  const segment = new Segment(number, slot, freshHeader(segmentBytes, place.fillRandom));
  writeHeader(place, segment);
  files.sync(slot);
  publishSegment(place, number);
  return segment;
}

export function publishSegment({ files, directory }: SegmentPlace, number: number): void {
  files.rename(`${directory}/${newName(number)}`, `${directory}/${segmentName(number)}`);
  files.syncDirectory(directory);
}

export function writeHeader({ files, arena, headerOffset }: SegmentPlace, segment: Segment): void {
  encodeSegmentHeader(arena.bytes, arena.view, headerOffset, segment.header);
  files.write(segment.slot, headerOffset, PAGE_BYTES, 0);
}

/** Opens a segment file and reads its header. */
export function openSegment(
  { files, arena, directory, headerOffset }: Pick<SegmentPlace, 'files' | 'arena' | 'directory' | 'headerOffset'>,
  number: number,
  write: boolean,
): { readonly state: SegmentHeaderState; readonly segment: Segment } {
  const slot = files.open(`${directory}/${segmentName(number)}`, { write, direct: true });
  const header = emptySegmentHeader();
  arena.bytes.fill(0, headerOffset, headerOffset + PAGE_BYTES);
  files.read(slot, headerOffset, PAGE_BYTES, 0);
  let state = decodeSegmentHeader(arena.bytes, arena.view, headerOffset, header);
  if (state === 'ok' && (header.segmentBytes % PAGE_BYTES !== 0 || header.segmentBytes > files.sizeBytes(slot))) state = 'damaged';
  return { state, segment: new Segment(number, slot, header) };
}
