import type { Arena } from '../arena.js';
import { checkAllocateMode, checkFileRange, checkFileSize, checkRange } from '../bounds.js';
import { AllocateMode, type Slot } from '../engine.js';
import { errno, errnoName } from '../errno.js';
import { EngineError } from '../errors.js';
import type { FileSystem, OpenOptions } from '../file-system.js';
import { baseOf, failure, parentOf, parts, type FaultyDisk, type Handle } from './disk.js';
import { Directory } from './directory.js';
import type { FaultOperation } from './faults.js';
import { Inode } from './inode.js';
import { SECTOR_BYTES } from './limits.js';

/** The slots of the engine that the file system belongs to. */
export interface FileSlots {
  add(handle: Handle): Slot;
  handle(slot: Slot): Handle;
  close(slot: Slot): void;
}

/** Synchronous calls over a simulated disk. One that changes something may be the one in which the power goes. */
export class SimulatedFileSystem implements FileSystem {
  constructor(
    readonly disk: FaultyDisk,
    readonly arena: Arena,
    readonly slots: FileSlots,
  ) {}

  open(path: string, options: OpenOptions): Slot {
    const { disk } = this;
    const directory = disk.directory(parentOf(path));
    let named = directory.names.get(baseOf(path));
    if (named === undefined) {
      if (options.create !== true) throw failure('ENOENT', path);
      const made = new Inode();
      made.path = path;
      named = made;
      this.#change('open', path, () => directory.set(baseOf(path), made));
    } else {
      if (options.create === true && options.exclusive === true) throw failure('EEXIST', path);
      if (named instanceof Directory) throw failure('EISDIR', path);
      this.#fail(disk.faults.strike('open', path)?.error, path);
    }
    return this.slots.add({ inode: named, write: options.write === true, direct: options.direct === true });
  }

  close(slot: Slot): void {
    this.slots.close(slot);
  }

  sizeBytes(slot: Slot): number {
    return this.slots.handle(slot).inode.sizeBytes;
  }

  read(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number): number {
    const handle = this.slots.handle(slot);
    const { inode } = handle;
    const target = this.#view(offset, lengthBytes);
    checkFileRange(fileOffsetBytes, lengthBytes);
    checkAligned(handle, offset, lengthBytes, fileOffsetBytes);
    this.#fail(this.disk.faults.strike('read', inode.path)?.error, inode.path);
    const count = inode.read(target, fileOffsetBytes);
    this.disk.observer?.('read', inode.path, fileOffsetBytes, lengthBytes, count);
    return count;
  }

  write(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number): void {
    const handle = this.slots.handle(slot);
    const data = this.#view(offset, lengthBytes);
    checkFileRange(fileOffsetBytes, lengthBytes);
    checkWritable(handle);
    checkAligned(handle, offset, lengthBytes, fileOffsetBytes);
    const { inode } = handle;
    const write = (): void => {
      if (!this.disk.hasSpace(inode, fileOffsetBytes, lengthBytes)) throw failure('ENOSPC', inode.path);
      inode.write(data, fileOffsetBytes);
    };
    this.#change('write', inode.path, write, fileOffsetBytes, lengthBytes);
  }

  sync(slot: Slot): void {
    const { inode } = this.slots.handle(slot);
    const sequence = inode.beginSync();
    const failed = (): void => inode.syncFailed(sequence);
    this.#change('sync', inode.path, () => inode.syncTo(sequence), 0, 0, failed);
  }

  truncate(slot: Slot, sizeBytes: number): void {
    const handle = this.slots.handle(slot);
    checkFileSize(sizeBytes);
    checkWritable(handle);
    this.#change('truncate', handle.inode.path, () => handle.inode.truncate(sizeBytes), 0, sizeBytes);
  }

  allocate(slot: Slot, mode: number, fileOffsetBytes: number, lengthBytes: number): void {
    const handle = this.slots.handle(slot);
    checkAllocateMode(mode);
    checkFileRange(fileOffsetBytes, lengthBytes);
    const { inode } = handle;
    const allocate = (): void => {
      const result = allocateIn(this.disk, handle, mode, fileOffsetBytes, lengthBytes);
      if (result < 0) throw new EngineError(errnoName(result), `fallocate ${inode.path}: ${errnoName(result)}`);
    };
    this.#change('allocate', inode.path, allocate, fileOffsetBytes, lengthBytes);
  }

  nextData(slot: Slot, fromBytes: number): number {
    checkFileSize(fromBytes);
    return this.slots.handle(slot).inode.next(fromBytes, true);
  }

  nextHole(slot: Slot, fromBytes: number): number {
    checkFileSize(fromBytes);
    return this.slots.handle(slot).inode.next(fromBytes, false);
  }

  list(directory: string): string[] {
    return [...this.disk.directory(directory).names.keys()].sort();
  }

  exists(path: string): boolean {
    return this.disk.find(path) !== null;
  }

  makeDirectory(path: string): void {
    let up = '';
    for (const name of parts(path)) {
      const parent = this.disk.directory(up);
      up += `/${name}`;
      const known = parent.names.get(name);
      if (known instanceof Inode) throw failure('EEXIST', up);
      if (known === undefined) this.#change('makeDirectory', up, () => parent.set(name, new Directory()));
    }
  }

  rename(from: string, to: string): void {
    const source = this.disk.directory(parentOf(from));
    const target = this.disk.directory(parentOf(to));
    const named = source.names.get(baseOf(from));
    if (named === undefined) throw failure('ENOENT', from);
    if (target.names.get(baseOf(to)) instanceof Directory) throw failure('EISDIR', to);
    this.#change('rename', from, () => {
      if (source === target) source.rename(baseOf(from), baseOf(to));
      else {
        // Between directories the new name may be there before, without, or beside the old one.
        target.set(baseOf(to), named);
        source.remove(baseOf(from));
      }
      if (named instanceof Inode) named.path = to;
    });
  }

  remove(path: string): void {
    const directory = this.disk.directory(parentOf(path));
    const named = directory.names.get(baseOf(path));
    if (named === undefined) throw failure('ENOENT', path);
    if (named instanceof Directory) throw failure('EISDIR', path);
    this.#change('remove', path, () => directory.remove(baseOf(path)));
  }

  syncDirectory(path: string): void {
    const directory = this.disk.directory(path);
    this.#change('syncDirectory', path, () => directory.sync());
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    const { totalBytes, usedBytes } = this.disk;
    if (this.disk.find(path) === null) throw failure('ENOENT', path);
    return { freeBytes: Math.max(0, totalBytes - usedBytes), totalBytes };
  }

  /** Carries the change out unless the power goes or a fault strikes; `failed` then does what the failure does. */
  #change(operation: FaultOperation, path: string, change: () => void, atBytes = 0, lengthBytes = 0, failed?: () => void): void {
    const { disk } = this;
    disk.call();
    const fault = disk.faults.strike(operation, path);
    const isError = fault !== null && fault.error !== 'hang';
    if (!isError) change();
    else {
      if (fault.stage === 'after' && failed === undefined) change();
      failed?.();
    }
    disk.observer?.(operation, path, atBytes, lengthBytes, isError ? -fault.error : 0);
    this.#fail(fault?.error, path);
  }

  #fail(error: number | 'hang' | undefined, path: string): void {
    if (typeof error === 'number') throw new EngineError(errnoName(error), `${errnoName(error)}: ${path}`);
  }

  #view(offset: number, lengthBytes: number): Uint8Array {
    checkRange(this.arena, offset, lengthBytes);
    return this.arena.bytes.subarray(offset, offset + lengthBytes);
  }
}

export const isAligned = ({ direct }: Handle, offset: number, lengthBytes: number, fileOffsetBytes: number): boolean =>
  !direct || (offset % SECTOR_BYTES === 0 && lengthBytes % SECTOR_BYTES === 0 && fileOffsetBytes % SECTOR_BYTES === 0);

function checkAligned(handle: Handle, offset: number, lengthBytes: number, fileOffsetBytes: number): void {
  if (!isAligned(handle, offset, lengthBytes, fileOffsetBytes)) throw failure('EINVAL', handle.inode.path);
}

function checkWritable({ write, inode }: Handle): void {
  if (!write) throw failure('EBADF', inode.path);
}

/** fallocate(2): 0 or a negative errno. */
export function allocateIn(disk: FaultyDisk, { inode, write }: Handle, mode: number, atBytes: number, lengthBytes: number): number {
  if (!write) return -errno.EBADF;
  if (!(lengthBytes > 0)) return -errno.EINVAL;
  const takesSpace = mode !== AllocateMode.punchHole;
  if (takesSpace && !disk.hasSpace(inode, atBytes, lengthBytes)) return -errno.ENOSPC;
  switch (mode) {
    case AllocateMode.preallocate:
      inode.preallocate(atBytes, lengthBytes, true);
      return 0;
    case AllocateMode.keepSize:
      inode.preallocate(atBytes, lengthBytes, false);
      return 0;
    case AllocateMode.punchHole:
      inode.punch(atBytes, lengthBytes);
      return 0;
    case AllocateMode.zeroRange:
      inode.zero(atBytes, lengthBytes);
      return 0;
    default:
      return -errno.EOPNOTSUPP;
  }
}
