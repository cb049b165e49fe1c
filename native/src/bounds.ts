import type { Arena } from './arena.js';
import { AllocateMode } from './engine.js';
import { EngineError } from './errors.js';

const MODES: readonly number[] = Object.values(AllocateMode);

/** Throws ERR_ARENA_BOUNDS unless the range is of whole bytes, at least one, inside the arena. */
export function checkRange(arena: Arena, offset: number, lengthBytes: number): void {
  if (!(
    lengthBytes > 0 &&
    offset >= 0 &&
    offset + lengthBytes <= arena.byteLength &&
    Number.isInteger(offset) &&
    Number.isInteger(lengthBytes)
  )) {
    throw new EngineError('ERR_ARENA_BOUNDS', `range at ${offset} of ${lengthBytes} bytes is not inside the arena of ${arena.byteLength}`);
  }
}

/** Throws ERR_ARGUMENT unless both are whole bytes of a file, at least one of them. */
export function checkFileRange(fileOffsetBytes: number, lengthBytes: number): void {
  if (!(
    fileOffsetBytes >= 0 &&
    lengthBytes > 0 &&
    isWhole(fileOffsetBytes) &&
    isWhole(lengthBytes) &&
    isWhole(fileOffsetBytes + lengthBytes)
  )) {
    throw new EngineError('ERR_ARGUMENT', `file offset ${fileOffsetBytes} with length ${lengthBytes} is out of range`);
  }
}

/** Throws ERR_ARGUMENT unless a file can be so long. */
export function checkFileSize(sizeBytes: number): void {
  if (!(isWhole(sizeBytes) && sizeBytes >= 0)) throw new EngineError('ERR_ARGUMENT', `a file of ${sizeBytes} bytes`);
}

/** Throws ERR_ARGUMENT unless it is a mode of AllocateMode. */
export function checkAllocateMode(mode: number): void {
  if (!MODES.includes(mode)) throw new EngineError('ERR_ARGUMENT', `allocate: unknown mode ${mode}`);
}

const isWhole = Number.isSafeInteger;
