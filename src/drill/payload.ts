import { DAMAGED } from './checker.js';
import { BLOCK_BYTES } from './limits.js';

/**
 * What a block holds: in each 8 bytes of it the number of the operation that wrote it, and the block's own number, both little-endian u32.
 * So a block that is torn, or in another one's place, is seen. Zeroes: nobody has written it.
 */
const WORD_BYTES = 8;

export function fillBlock(target: Buffer, op: number, block: number): void {
  target.writeUInt32LE(op, 0);
  target.writeUInt32LE(block, 4);
  // Each copy doubles what is there.
  for (let done = WORD_BYTES; done < BLOCK_BYTES; done *= 2) target.copy(target, done, 0, Math.min(done, BLOCK_BYTES - done));
}

/** The operation that wrote the block, 0 for zeroes, DAMAGED when it is not one block of one operation. */
export function readBlock(source: Buffer, at: number, block: number): number {
  const op = source.readUInt32LE(at);
  const place = source.readUInt32LE(at + 4);
  if (place !== (op === 0 ? 0 : block)) return DAMAGED;
  return isOfOne(source, at) ? op : DAMAGED;
}

/** Why a block is damaged, for people. */
export function describeDamage(source: Buffer, at: number, block: number): string {
  const words: string[] = [];
  for (let done = 0; done < BLOCK_BYTES && words.length < 4; done += WORD_BYTES) {
    const text = `#${source.readUInt32LE(at + done)} of block ${source.readUInt32LE(at + done + 4)}`;
    if (words.at(-1)?.startsWith(text) !== true) words.push(`${text} from byte ${done}`);
  }
  return `block ${block} holds ${words.join(', ')}`;
}

/** A block equals itself moved by one word when all its words are the same. */
function isOfOne(source: Buffer, at: number): boolean {
  const end = at + BLOCK_BYTES;
  return source.compare(source, at, end - WORD_BYTES, at + WORD_BYTES, end) === 0;
}
