import { randomBytes } from 'node:crypto';
import { openSync, closeSync, ftruncateSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { check, run } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { useClientBench } from './system.js';

const missing = missingPrograms('nbdinfo', 'nbdcopy', 'nbdsh', 'nbdkit');
const MIB = 1024 * 1024;
const SIZE = 256 * MIB;
/** nbdsh starts the first python3 it finds; libnbd's module belongs to the system's. */
const SYSTEM_PYTHON = { PATH: `/usr/bin:/bin:${process.env['PATH'] ?? ''}` };

describe.skipIf(missing.length > 0)(`libnbd's tools${missingNote(missing)}`, () => {
  const bench = useClientBench('libnbd', '256M');

  it('nbdinfo shows the export and what it can do', async () => {
    const info = JSON.parse(await check(['nbdinfo', '--json', bench().uri])) as { exports: Record<string, unknown>[] };
    expect(info.exports[0]).toMatchObject({
      'export-size': SIZE,
      is_read_only: false,
      can_cache: true,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
    });
    expect(info.exports[0]!['contexts']).toEqual(['base:allocation', 'qemu:allocation-depth']);
  });

  it('nbdinfo --list names the vdisk', async () => {
    const list = await check(['nbdinfo', '--list', bench().uri]);
    expect(list).toContain('export="libnbd"');
  });

  it('nbdinfo says so when there is no such export', async () => {
    const result = await run(['nbdinfo', bench().uri.replace('/libnbd?', '/nobody?')]);
    expect(result.code).not.toBe(0);
  });

  it('nbdcopy brings a sparse image in and out again over several connections, and holes stay holes', async () => {
    const { dir, uri } = bench();
    const image = join(dir, 'sparse');
    const data = makeSparseImage(image);
    await check(['nbdcopy', '--connections=4', '--requests=64', '--flush', image, uri]);
    const map = JSON.parse(await check(['nbdinfo', '--map', '--json', uri])) as { offset: number; length: number; type: number }[];
    const dataBytes = map.filter(extent => extent.type === 0).reduce((sum, extent) => sum + extent.length, 0);
    expect(map.reduce((sum, extent) => sum + extent.length, 0)).toBe(SIZE);
    expect(dataBytes).toBeGreaterThanOrEqual(data);
    expect(dataBytes).toBeLessThan(data + MIB);
    // As a depth the same: 1 where there is data, 0 where nothing is.
    const depth = JSON.parse(await check(['nbdinfo', '--map=qemu:allocation-depth', '--json', uri])) as typeof map;
    expect(depth.map(({ offset, length, type }) => [offset, length, type])).toEqual(
      map.map(({ offset, length, type }) => [offset, length, type === 0 ? 1 : 0]),
    );

    const back = join(dir, 'back');
    closeSync(openSync(back, 'w'));
    await check(['truncate', '-s', String(SIZE), back]);
    await check(['nbdcopy', '--connections=4', '--requests=64', uri, back]);
    await check(['cmp', image, back]);
    expect(statSync(back).blocks * 512).toBeLessThan(data + MIB);
  });

  it('nbdsh: write, FUA, read, zero, trim, cache, block status, flush', async () => {
    const result = await run(['nbdsh', '--base-allocation', '-u', bench().uri, '-c', NBDSH_SCRIPT], { env: SYSTEM_PYTHON });
    expect(result).toMatchObject({ code: 0 });
    expect(result.stdout).toContain('all good');
  });

  it("nbdkit's nbd plugin serves it on", async () => {
    const { dir, uri } = bench();
    const image = join(dir, 'random');
    writeFileSync(image, randomBytes(8 * MIB));
    await check(['truncate', '-s', String(SIZE), image]);
    await check(['nbdkit', '-U', '-', 'nbd', uri, 'shared=true', '--run', `nbdcopy --flush ${image} "$uri"`]);
    const back = join(dir, 'through');
    await check(['nbdkit', '-U', '-', 'nbd', uri, '--run', `nbdcopy "$uri" - > ${back}`]);
    expect(readFileSync(back).equals(readFileSync(image))).toBe(true);
  });
});

/** 256 MiB with 16 pieces of 256 KiB of random data; gives the bytes of data. */
function makeSparseImage(path: string): number {
  const fd = openSync(path, 'w');
  for (let piece = 0; piece < 16; piece++) writeSync(fd, randomBytes(256 * 1024), 0, 256 * 1024, piece * 16 * MIB + MIB);
  ftruncateSync(fd, SIZE);
  closeSync(fd);
  return 16 * 256 * 1024;
}

const NBDSH_SCRIPT = `
import errno
base = 128 * 1024 * 1024
h.trim(1024 * 1024, base)
data = bytes(range(256)) * 256
h.pwrite(data, base)
h.pwrite(data, base + 65536 + 512, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), base) == data
assert h.pread(len(data), base + 65536 + 512) == data
assert h.pread(512, base + 65536) == bytearray(512)
h.pwrite(b'x', base + 100)
assert h.pread(3, base + 99) == b'cxe'
h.zero(8192, base + 4096)
assert h.pread(8192, base + 4096) == bytearray(8192)
h.zero(4096, base + 32768, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(4096, base + 32768) == bytearray(4096)
h.cache(65536, base)
h.flush()
extents = []
def collect(context, offset, entries, error):
    assert context == 'base:allocation'
    extents.extend(entries)
h.block_status(1024 * 1024, base, collect)
assert sum(extents[0::2]) > 0
assert extents[1] == 0, extents
h.trim(1024 * 1024, base)
assert h.pread(65536, base) == bytearray(65536)
try:
    h.pread(512, h.get_size())
    assert False, 'a read beyond the end must fail'
except nbd.Error as error:
    assert error.errnum == errno.EINVAL, error
assert h.pread(4096, h.get_size() - 4096) is not None
print('all good')
`;
