import type { PathRequest } from '../../wire/path.js';
import { MAX_ENTRY_BLOCKS } from './limits.js';
import type { ControllerPath } from './path.js';
import { BLOCK_BYTES, type ReadOwner } from './ports.js';
import type { ReadPath } from './read-path.js';

const MAX_BLOCKS = MAX_ENTRY_BLOCKS + 1;

/** One request that has to go to the log or the extents: its transfer buffers, and what is still wanted of its blocks. Pooled. */
export class MissRead implements ReadOwner {
  request: PathRequest | null = null;
  path: ControllerPath | null = null;
  /** Set instead of `request` by an inner reader. */
  done: ((ok: boolean) => void) | null = null;
  block = 0;
  blocks = 0;
  bufferCount = 0;
  readonly buffers: [number, number] = [-1, -1];
  /** Runs under way, and one while they are being started. */
  pending = 0;
  rounds = 0;
  /** What damaged records of the block store said of it has been asked of others. */
  isRefilled = false;
  /** When it began, and when it had its buffers. */
  beganNs = 0;
  startedNs = 0;
  /** Per block: 1 while its content is not there. */
  readonly wanted = new Uint8Array(MAX_BLOCKS);
  /** Per block: 1 when a change was committed since the read began. */
  readonly overtaken = new Uint8Array(MAX_BLOCKS);
  /** Per block: how its last read ended; 0: with bytes. */
  readonly errno = new Int32Array(MAX_BLOCKS);
  readonly crc = new Uint32Array(MAX_BLOCKS);
  /** Per block: which version of it was looked for; 0: nobody knows. */
  readonly seq = new Float64Array(MAX_BLOCKS);
  /** Length of the run that starts at a block. */
  readonly runBlocks = new Int32Array(MAX_BLOCKS);

  constructor(
    readonly index: number,
    readonly reads: ReadPath,
  ) {}

  begin(request: PathRequest | null, path: ControllerPath | null, block: number, blocks: number, nowNs: number): void {
    this.beganNs = this.startedNs = nowNs;
    this.request = request;
    this.path = path;
    this.block = block;
    this.blocks = blocks;
    this.bufferCount = blocks > MAX_ENTRY_BLOCKS ? 2 : 1;
    this.rounds = 0;
    this.isRefilled = false;
    this.wanted.fill(1, 0, blocks);
    this.overtaken.fill(0, 0, blocks);
    this.errno.fill(0, 0, blocks);
  }

  end(): void {
    this.request = this.path = this.done = null;
    this.buffers[0] = this.buffers[1] = -1;
  }

  setBuffer(i: number, offset: number): void {
    this.buffers[i] = offset;
  }

  bufferBlocks(i: number): number {
    return i === 0 ? Math.min(this.blocks, MAX_ENTRY_BLOCKS) : this.blocks - MAX_ENTRY_BLOCKS;
  }

  /** First block behind the buffer that holds block i. */
  bufferEnd(i: number): number {
    return i < MAX_ENTRY_BLOCKS ? MAX_ENTRY_BLOCKS : MAX_BLOCKS;
  }

  offsetOf(i: number): number {
    return i < MAX_ENTRY_BLOCKS ? this.buffers[0] + i * BLOCK_BYTES : this.buffers[1] + (i - MAX_ENTRY_BLOCKS) * BLOCK_BYTES;
  }

  firstWanted(): number {
    for (let i = 0; i < this.blocks; i++) if (this.wanted[i] === 1) return i;
    return -1;
  }

  overtake(block: number, blocks: number): void {
    const from = Math.max(0, block - this.block);
    const to = Math.min(this.blocks, block + blocks - this.block);
    if (from < to) this.overtaken.fill(1, from, to);
  }

  onRead(tag: number, result: number): void {
    this.reads.onRun(this, tag, result);
  }
}
