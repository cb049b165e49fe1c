import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

const LEAST_BYTES = 4_096;

/** An ext4 file system of its own in a file, by root. */
export class SmallDisk {
  readonly path: string;
  readonly #filler: string;

  constructor(
    readonly directory: string,
    sizeBytes: number,
  ) {
    this.path = join(directory, 'disk');
    this.#filler = join(this.path, 'filler');
    const image = join(directory, 'disk.ext4');
    mkdirSync(this.path);
    execFileSync('truncate', ['-s', String(sizeBytes), image]);
    execFileSync('mkfs.ext4', ['-q', '-m', '0', image]);
    execFileSync('mount', ['-o', 'loop', image, this.path]);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Until nothing more fits. */
  fill(): void {
    let sizeBytes = 0;
    for (let left = this.freeBytes; left >= LEAST_BYTES;) {
      const isTaken = spawnSync('fallocate', ['-l', String(sizeBytes + left), this.#filler]).status === 0;
      if (isTaken) sizeBytes += left;
      // What the file system needs for its own books is not to be had.
      left = isTaken ? this.freeBytes : Math.floor(left / 2);
    }
  }

  empty(): void {
    rmSync(this.#filler, { force: true });
  }

  unmount(): void {
    spawnSync('umount', ['-l', this.path]);
  }
}
