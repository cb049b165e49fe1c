import { closeSync, openSync, writeSync } from 'node:fs';
import { Random } from '../../support/random.js';
import { check } from '../../support/process.js';

const BLOCK = 4_096;

export interface RawImage {
  readonly path: string;
  readonly sizeBytes: number;
  /** Bytes of blocks that are not all zeroes. */
  readonly dataBytes: number;
}

/** Runs of random data, of written zeroes and of holes; the length is no multiple of anything. The last bytes are data. */
export function makeRaw(path: string, seed: number): RawImage {
  const random = new Random(seed);
  const fd = openSync(path, 'w');
  let at = 0;
  let dataBytes = 0;
  try {
    for (let run = 0; run < 24; run++) {
      const bytes = random.between(1, 96) * BLOCK;
      const kind = random.below(3);
      if (kind === 0) dataBytes += bytes;
      if (kind < 2) writeSync(fd, kind === 0 ? randomBytes(random, bytes) : Buffer.alloc(bytes), 0, bytes, at);
      at += bytes;
    }
    const tail = randomBytes(random, 300 * 1024 + 777);
    writeSync(fd, tail, 0, tail.length, at);
    dataBytes += Math.ceil(tail.length / BLOCK) * BLOCK;
    return { path, sizeBytes: at + tail.length, dataBytes };
  } finally {
    closeSync(fd);
  }
}

function randomBytes(random: Random, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let i = 0; i + 4 <= bytes; i += 4) buffer.writeUInt32LE(Math.floor(random.next() * 0xffffffff) + 1, i);
  buffer.fill(0x55, bytes - (bytes % 4));
  return buffer;
}

export interface Kind {
  readonly name: string;
  readonly format: string;
  readonly extension: string;
  readonly args: readonly string[];
}

const kind = (name: string, format: string, extension: string, ...args: string[]): Kind => ({ name, format, extension, args });

/** What an image may be. */
export const KINDS: readonly Kind[] = [
  kind('qcow2', 'qcow2', 'qcow2'),
  kind('qcow2, compressed', 'qcow2', 'qcow2', '-c'),
  kind('vmdk', 'vmdk', 'vmdk'),
  kind('vmdk, stream-optimized', 'vmdk', 'vmdk', '-o', 'subformat=streamOptimized'),
  kind('vmdk, flat', 'vmdk', 'vmdk', '-o', 'subformat=monolithicFlat'),
  kind('vhd', 'vpc', 'vhd', '-o', 'force_size=on'),
  kind('vhd, fixed', 'vpc', 'vhd', '-o', 'subformat=fixed,force_size=on'),
  kind('vhdx', 'vhdx', 'vhdx'),
  kind('vdi', 'vdi', 'vdi'),
];

export async function makeImage({ format, args }: Kind, raw: RawImage, path: string): Promise<void> {
  await check(['qemu-img', 'convert', '-f', 'raw', '-O', format, ...args, raw.path, path]);
}
