import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { check, TestProcess } from '../../support/process.js';
import { program } from '../../support/programs.js';
import type { GuestDisk } from '../../../src/drill/guest/machine.js';

/**
 * How the guest's data disk treats writes that were not flushed when the power goes:
 * - `direct`: QEMU with cache=none. What reached QEMU stays; the guest's memory, its page cache with it, is lost.
 * - `volatile`: a disk with a write cache of its own, which is lost as well: everything since the last flush is gone.
 */
export type DiskKind = 'direct' | 'volatile';

/** The disk of the machine that loses power: one image, attached as either kind from boot to boot. */
export class DataDisk {
  readonly #image: string;
  #cache: TestProcess | undefined;

  private constructor(private readonly dir: string) {
    this.#image = join(dir, 'data.img');
  }

  /** An empty ext4 file system. */
  static async create(dir: string, size: string): Promise<DataDisk> {
    const disk = new DataDisk(dir);
    await check(['truncate', '-s', size, disk.#image]);
    await check([program('mke2fs'), '-q', '-t', 'ext4', disk.#image]);
    return disk;
  }

  async attach(kind: DiskKind): Promise<GuestDisk> {
    if (kind === 'direct') return { kind: 'file', path: this.#image };
    const socket = join(this.dir, 'disk.sock');
    rmSync(socket, { force: true });
    // nbdkit's cache filter in writeback mode keeps writes to itself until a flush: killed, it is a disk whose cache lost power.
    const argv = [program('nbdkit'), '-f', '-U', socket, '--filter=cache', 'file', this.#image, 'cache=writeback'];
    const cache = TestProcess.start(argv, { env: { TMPDIR: this.dir } });
    this.#cache = cache;
    await cache.waitUntil('the disk', 10_000, () => existsSync(socket));
    return { kind: 'nbd', socket, exportName: '' };
  }

  /** Together with the guest's `powerCut()`. */
  async powerCut(): Promise<void> {
    await this.#cache?.kill();
    this.#cache = undefined;
  }
}
