import fs from 'node:fs';
import { loadAddon } from './addon.js';
import type { Arena } from './arena.js';
import { checkAllocateMode, checkFileRange, checkFileSize, checkRange } from './bounds.js';
import { AllocateMode, type Slot, type SlotKind } from './engine.js';
import { errno, errnoName } from './errno.js';
import { EngineError } from './errors.js';
import type { FileSystem, OpenOptions } from './file-system.js';

interface Slots {
  adopt(fd: number, kind: SlotKind): Slot;
  release(slot: Slot): number;
  descriptor(slot: Slot): number;
}

/** The real file system, by Node's synchronous calls and the addon's fallocate. */
export class NodeFileSystem implements FileSystem {
  constructor(
    readonly arena: Arena,
    readonly slots: Slots,
    /** O_DIRECT works only where the engine's memory is aligned. */
    readonly allowDirect: boolean,
  ) {}

  open(path: string, options: OpenOptions): Slot {
    const { O_RDWR, O_RDONLY, O_CREAT, O_EXCL, O_DIRECT } = fs.constants;
    const base = (options.write ? O_RDWR : O_RDONLY) | (options.create ? O_CREAT : 0) | (options.exclusive ? O_EXCL : 0);
    const fd = wrap(() => {
      if (options.direct && this.allowDirect) {
        try {
          return fs.openSync(path, base | O_DIRECT, 0o600);
        } catch (error) {
          // tmpfs and some FUSE file systems refuse O_DIRECT: the option is a hint.
          if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
        }
      }
      return fs.openSync(path, base, 0o600);
    });
    try {
      return this.slots.adopt(fd, 'file');
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  close(slot: Slot): void {
    this.slots.descriptor(slot);
    const fd = this.slots.release(slot);
    wrap(() => fs.closeSync(fd));
  }

  sizeBytes(slot: Slot): number {
    return wrap(() => fs.fstatSync(this.slots.descriptor(slot)).size);
  }

  read(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number): number {
    const fd = this.slots.descriptor(slot);
    checkRange(this.arena, offset, lengthBytes);
    checkFileRange(fileOffsetBytes, lengthBytes);
    let done = 0;
    while (done < lengthBytes) {
      const want = Math.min(lengthBytes - done, MAX_CALL_BYTES);
      const got = wrap(() => fs.readSync(fd, this.arena.bytes, offset + done, want, fileOffsetBytes + done));
      done += got;
      if (got === 0 || done % 512 !== 0) break;
    }
    return done;
  }

  write(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number): void {
    const fd = this.slots.descriptor(slot);
    checkRange(this.arena, offset, lengthBytes);
    checkFileRange(fileOffsetBytes, lengthBytes);
    for (let done = 0; done < lengthBytes;) {
      const want = Math.min(lengthBytes - done, MAX_CALL_BYTES);
      const put = wrap(() => fs.writeSync(fd, this.arena.bytes, offset + done, want, fileOffsetBytes + done));
      if (put === 0) throw new EngineError('EIO', 'the file system took no bytes');
      done += put;
    }
  }

  sync(slot: Slot): void {
    wrap(() => fs.fdatasyncSync(this.slots.descriptor(slot)));
  }

  truncate(slot: Slot, sizeBytes: number): void {
    checkFileSize(sizeBytes);
    wrap(() => fs.ftruncateSync(this.slots.descriptor(slot), sizeBytes));
  }

  allocate(slot: Slot, mode: number, fileOffsetBytes: number, lengthBytes: number): void {
    const fd = this.slots.descriptor(slot);
    checkAllocateMode(mode);
    checkFileRange(fileOffsetBytes, lengthBytes);
    const result = allocateNow(fd, mode, fileOffsetBytes, lengthBytes);
    if (result < 0) throw new EngineError(errnoName(result), `fallocate: ${errnoName(result)}`);
  }

  nextData(slot: Slot, fromBytes: number): number {
    return this.#seek(slot, fromBytes, 0);
  }

  nextHole(slot: Slot, fromBytes: number): number {
    return this.#seek(slot, fromBytes, 1);
  }

  #seek(slot: Slot, fromBytes: number, hole: 0 | 1): number {
    const fd = this.slots.descriptor(slot);
    checkFileSize(fromBytes);
    const addon = loadAddon();
    const found = addon === null ? -errno.ENXIO : addon.seek(fd, fromBytes, hole);
    if (found >= 0) return found;
    if (found !== -errno.ENXIO) throw new EngineError(errnoName(found), `lseek: ${errnoName(found)}`);
    const sizeBytes = this.sizeBytes(slot);
    return addon === null && hole === 0 ? Math.min(fromBytes, sizeBytes) : sizeBytes;
  }

  list(directory: string): string[] {
    return wrap(() => fs.readdirSync(directory).sort());
  }

  exists(path: string): boolean {
    return fs.existsSync(path);
  }

  makeDirectory(path: string): void {
    wrap(() => fs.mkdirSync(path, { recursive: true, mode: 0o700 }));
  }

  rename(from: string, to: string): void {
    wrap(() => fs.renameSync(from, to));
  }

  remove(path: string): void {
    wrap(() => fs.unlinkSync(path));
  }

  syncDirectory(path: string): void {
    wrap(() => {
      const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
      try {
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    });
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    return wrap(() => {
      const stat = fs.statfsSync(path);
      return { freeBytes: stat.bavail * stat.bsize, totalBytes: stat.blocks * stat.bsize };
    });
  }
}

/** Node's calls take less than 2 GiB at a time. */
export const MAX_CALL_BYTES = 1 << 30;
const ZEROES_BYTES = 1 << 20;

/**
 * fallocate(2) by the addon, or without it what comes closest in Node: zeroes are written (space is not given back), files are
 * lengthened. Returns 0 or -errno.
 */
export function allocateNow(fd: number, mode: number, fileOffsetBytes: number, lengthBytes: number): number {
  const addon = loadAddon();
  if (addon !== null) return addon.fallocate(fd, mode, fileOffsetBytes, lengthBytes);
  // Nothing, but it finds out whether the file may be written, as fallocate(2) does.
  fs.writeSync(fd, new Uint8Array(1), 0, 0, 0);
  const size = fs.fstatSync(fd).size;
  const end = fileOffsetBytes + lengthBytes;
  if (mode === AllocateMode.keepSize) return 0;
  if (mode === AllocateMode.preallocate) {
    if (end > size) fs.ftruncateSync(fd, end);
    return 0;
  }
  const zeroes = new Uint8Array(Math.min(ZEROES_BYTES, lengthBytes));
  const last = mode === AllocateMode.punchHole ? Math.min(end, size) : end;
  for (let at = fileOffsetBytes; at < last; at += zeroes.length) fs.writeSync(fd, zeroes, 0, Math.min(zeroes.length, last - at), at);
  return 0;
}

function wrap<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof EngineError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new EngineError(code ?? 'EIO', message, { cause: error });
  }
}
