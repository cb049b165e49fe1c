/**
 * Writer of "newc" cpio archives, the format the Linux kernel unpacks as initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Archives may follow one another at 4-byte boundaries.
 */

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

export class CpioArchive {
  readonly #parts: Buffer[] = [];
  readonly #directories = new Set<string>();
  #inode = 1;

  /** Adds a directory and those above it, once. Paths have no leading slash. */
  directory(path: string): this {
    const above = path.lastIndexOf('/');
    if (above > 0) this.directory(path.slice(0, above));
    if (path !== '' && !this.#directories.has(path)) {
      this.#directories.add(path);
      this.#entry(path, S_IFDIR | 0o755, Buffer.alloc(0));
    }
    return this;
  }

  file(path: string, content: Buffer | string, mode = 0o644): this {
    this.#above(path);
    return this.#entry(path, S_IFREG | mode, Buffer.from(content));
  }

  symlink(path: string, target: string): this {
    this.#above(path);
    return this.#entry(path, S_IFLNK | 0o777, Buffer.from(target));
  }

  characterDevice(path: string, major: number, minor: number): this {
    this.#above(path);
    return this.#entry(path, S_IFCHR | 0o600, Buffer.alloc(0), major, minor);
  }

  finish(): Buffer {
    this.#entry('TRAILER!!!', 0, Buffer.alloc(0));
    return Buffer.concat(this.#parts);
  }

  #above(path: string): void {
    const above = path.lastIndexOf('/');
    if (above > 0) this.directory(path.slice(0, above));
  }

  #entry(path: string, mode: number, content: Buffer, major = 0, minor = 0): this {
    const name = Buffer.from(`${path}\0`);
    const inode = this.#inode++;
    // inode, mode, uid, gid, nlink, mtime, size, device major+minor, its own major+minor, name size, check (unused)
    const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length, 0];
    const header = Buffer.from(`070701${fields.map(value => value.toString(16).padStart(8, '0')).join('')}`);
    this.#parts.push(header, name, padding(header.length + name.length), content, padding(content.length));
    return this;
  }
}

function padding(lengthBytes: number): Buffer {
  return Buffer.alloc((4 - (lengthBytes % 4)) % 4);
}
