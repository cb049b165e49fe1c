import type { Slot } from './engine.js';

/**
 * Synchronous file-system calls. They are for set-up, recovery and tests; over the faulty disk they are
 * simulated, names included: a created, renamed or removed name survives a power cut only after
 * {@link FileSystem.syncDirectory}. All throw {@link EngineError} with the errno's name as `code`.
 */
export interface FileSystem {
  open(path: string, options: OpenOptions): Slot;
  close(slot: Slot): void;
  sizeBytes(slot: Slot): number;
  /** Reads into the arena; returns the bytes read, short only at the end of the file. */
  read(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number): number;
  write(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number): void;
  /** fdatasync */
  sync(slot: Slot): void;
  truncate(slot: Slot, sizeBytes: number): void;
  /** fallocate(2) with a mode of AllocateMode. */
  allocate(slot: Slot, mode: number, fileOffsetBytes: number, lengthBytes: number): void;
  /**
   * Where data begins, from `fromBytes` on (lseek(2), SEEK_DATA); the file's size where there is none. What is no data reads as zeroes; file systems may take
   * zeroes for data, and libuv without the addon takes all of a file for it.
   */
  nextData(slot: Slot, fromBytes: number): number;
  /** Where a hole begins, from `fromBytes` on (SEEK_HOLE): the file's size at the latest. */
  nextHole(slot: Slot, fromBytes: number): number;
  /** Names in a directory, sorted. */
  list(directory: string): string[];
  exists(path: string): boolean;
  /** Creates the directory, and its parents, where missing. */
  makeDirectory(path: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  syncDirectory(path: string): void;
  /** Free and total bytes of the file system that holds `path`. */
  space(path: string): { freeBytes: number; totalBytes: number };
}

export interface OpenOptions {
  /** O_DIRECT where the file system has it; a hint (tmpfs, libuv). */
  readonly direct?: boolean;
  readonly write?: boolean;
  readonly create?: boolean;
  /** With `create`: fail with EEXIST where the file exists. */
  readonly exclusive?: boolean;
}
