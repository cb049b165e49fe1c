import type { errno } from '../errno.js';
import { EngineError } from '../errors.js';
import { Directory, type Named } from './directory.js';
import { FaultList, type FaultOperation } from './faults.js';
import { Inode } from './inode.js';
import { BLOCK_BYTES, MAX_LATENCY_NS, MIN_LATENCY_NS, UNLIMITED_BYTES } from './limits.js';
import type { Random } from './random.js';

export interface FaultyDiskOptions {
  /** What the disk decides by: a clock's, or its own. */
  readonly random: Random;
  /** Space that files may take; without a limit where it is missing. */
  readonly capacityBytes?: number;
  readonly minLatencyNs?: number;
  readonly maxLatencyNs?: number;
}

/** The power goes in the middle of a synchronous call: nothing of this process happens any more. */
export class PowerLoss extends Error {
  override readonly name = 'PowerLoss';
}

/** An engine that has this disk mounted. */
export interface Mounted {
  /** The process ends: what is under way ends somewhere. */
  kill(): void;
}

/** Told what was carried out, in order, before anybody else knows. `result`: as completions have it. */
export type DiskObserver = (operation: FaultOperation, path: string, atBytes: number, lengthBytes: number, result: number) => void;

/** An open file. */
export interface Handle {
  readonly inode: Inode;
  readonly write: boolean;
  readonly direct: boolean;
}

/**
 * A disk that keeps what was synced and loses of the rest, by seed, whatever a power cut may take. It outlives engines: a process that is
 * killed or loses power is an engine that is gone, and the next one mounts the same disk.
 */
export class FaultyDisk {
  readonly root = new Directory();
  readonly faults = new FaultList();
  readonly random: Random;
  capacityBytes: number;
  minLatencyNs: number;
  maxLatencyNs: number;
  observer: DiskObserver | null = null;
  /** Since power was lost in the middle of a call: nothing gets here until {@link powerCut} has decided what is left. */
  isOff = false;
  readonly mounted = new Set<Mounted>();
  /** Open files by descriptor, of all engines: a descriptor may be handed from one to another. */
  readonly handles = new Map<number, Handle>();
  #nextDescriptor = 3;
  #callsLeft = Infinity;

  constructor(options: FaultyDiskOptions) {
    this.random = options.random;
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.minLatencyNs = options.minLatencyNs ?? MIN_LATENCY_NS;
    this.maxLatencyNs = options.maxLatencyNs ?? MAX_LATENCY_NS;
  }

  // ---------------------------------------------------------------- power

  /** Ends every process that has the disk mounted, and takes of what no sync covers what it likes. The disk can be mounted again. */
  powerCut(): void {
    this.killAll();
    this.root.powerCut(this.random);
    for (const [path, inode] of this.walk()) inode.path = path;
    this.isOff = false;
  }

  /** Every process that has the disk mounted ends; what was completed stays, on the medium or not. */
  killAll(): void {
    for (const engine of [...this.mounted]) engine.kill();
    this.handles.clear();
    this.#callsLeft = Infinity;
  }

  /** In the middle of a start, say: so many synchronous calls that change something are carried out, the next one throws {@link PowerLoss}. Infinity: none does. */
  cutPowerAfterCalls(calls: number): void {
    this.#callsLeft = calls;
  }

  /** Every synchronous call that changes something comes by here. */
  call(): void {
    if (!this.isOff && this.#callsLeft-- > 0) return;
    this.isOff = true;
    throw new PowerLoss('the power went');
  }

  // ---------------------------------------------------------------- files

  openHandle(handle: Handle): number {
    const descriptor = this.#nextDescriptor++;
    this.handles.set(descriptor, handle);
    return descriptor;
  }

  /** What the path names, or null. */
  find(path: string): Named | null {
    let named: Named = this.root;
    for (const name of parts(path)) {
      const next: Named | undefined = named instanceof Directory ? named.names.get(name) : undefined;
      if (next === undefined) return null;
      named = next;
    }
    return named;
  }

  directory(path: string): Directory {
    const named = this.find(path);
    if (named === null) throw failure('ENOENT', path);
    if (!(named instanceof Directory)) throw failure('ENOTDIR', path);
    return named;
  }

  file(path: string): Inode {
    const named = this.find(path);
    if (named === null) throw failure('ENOENT', path);
    if (named instanceof Directory) throw failure('EISDIR', path);
    return named;
  }

  /** Every file with its path, in the order of names. */
  *walk(directory = this.root, prefix = ''): IterableIterator<[string, Inode]> {
    for (const [name, named] of [...directory.names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (named instanceof Inode) yield [`${prefix}/${name}`, named];
      else yield* this.walk(named, `${prefix}/${name}`);
    }
  }

  get usedBytes(): number {
    let used = 0;
    for (const inode of this.root.files()) used += inode.allocatedBytes;
    return used;
  }

  get totalBytes(): number {
    return Math.min(this.capacityBytes, UNLIMITED_BYTES);
  }

  /** Whether the range can be written: blocks that have space take none. */
  hasSpace(inode: Inode, atBytes: number, lengthBytes: number): boolean {
    if (this.capacityBytes === Infinity) return true;
    return this.usedBytes + inode.missingBlocks(atBytes, lengthBytes) * BLOCK_BYTES <= this.capacityBytes;
  }

  /** Changes bits of a file on the medium. */
  rot(path: string, atBytes: number, mask: number): void {
    this.file(path).flip(atBytes, mask);
  }
}

export const parts = (path: string): string[] => path.split('/').filter(name => name !== '' && name !== '.');

export const parentOf = (path: string): string => `/${parts(path).slice(0, -1).join('/')}`;

export const baseOf = (path: string): string => parts(path).at(-1) ?? '';

export function failure(code: keyof typeof errno, path: string): EngineError {
  return new EngineError(code, `${code}: ${path}`);
}
