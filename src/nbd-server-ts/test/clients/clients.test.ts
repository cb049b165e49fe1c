import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { check, run, TestProcess } from '../../../../test/support/process.js';
import { missingNote, missingPrograms, program } from '../../../../test/support/programs.js';
import { RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';

const MIB = 1 << 20;
const SIZE = 64 * MIB;
const missing = missingPrograms('nbdinfo', 'nbdcopy', 'nbddump', 'nbdfuse', 'qemu-img', 'qemu-io', 'fio', 'nbdkit');

/** Data here and there, holes between: what sparse copies are for. */
function sparseImage(path: string, sizeBytes = SIZE): void {
  const fd = openSync(path, 'w');
  for (const [offset, length] of [
    [0, 3 * MIB],
    [10 * MIB + 4096, 12_345],
    [40 * MIB - 100, 5 * MIB],
    [sizeBytes - 1, 1],
  ] as const)
    writeSync(fd, randomBytes(length), 0, length, offset);
  closeSync(fd);
}

/** A file export on the same size of file, with memory beside it. */
describe.skipIf(missing.length > 0).each(ENGINES)(`real clients, %s${missingNote(missing)}`, engine => {
  let server: TestServer;
  let filePath: string;

  beforeEach(async () => {
    filePath = join(mkdtempSync(join(tmpdir(), 'nbd-file-')), 'disk');
    writeFileSync(filePath, '');
    truncateSync(filePath, SIZE);
    server = await TestServer.start({
      engine,
      memory: [
        { name: 'disk', sizeBytes: SIZE, description: 'a disk in memory' },
        { name: 'ro', sizeBytes: MIB, readOnly: true },
      ],
      files: [{ name: 'file', path: filePath }],
    });
  });
  afterEach(async () => {
    await server.stop();
    rmSync(join(filePath, '..'), { recursive: true, force: true });
  });

  test('nbdinfo', async () => {
    const info = JSON.parse(await check(['nbdinfo', '--json', server.uri()])) as { exports: Record<string, unknown>[] };
    expect(info.exports[0]).toMatchObject({
      'export-name': 'disk',
      description: 'a disk in memory',
      'export-size': SIZE,
      contexts: ['base:allocation'],
      is_read_only: false,
      can_multi_conn: true,
      can_fast_zero: true,
      can_df: true,
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 32 * MIB,
    });
    const list = JSON.parse(await check(['nbdinfo', '--list', '--json', server.uri('')])) as { exports: Record<string, unknown>[] };
    expect(list.exports.map(one => one['export-name'])).toEqual(['disk', 'ro', 'file']);
    expect(list.exports.map(one => one['is_read_only'])).toEqual([false, true, false]);
    expect((await run(['nbdinfo', server.uri('nope')])).code).toBe(1);
  });

  test.each(['disk', 'file'])('nbdcopy there and back, %s', async name => {
    const [source, back] = [join(server.directory, 'source'), join(server.directory, 'back')];
    sparseImage(source);
    await check(['nbdcopy', '--connections=4', '--flush', source, server.uri(name)]);
    await check(['nbdcopy', '--connections=4', '--requests=128', server.uri(name), back]);
    await check(['cmp', source, back]);
    if (name === 'disk') {
      const map = JSON.parse(await check(['nbdinfo', '--map', '--json', server.uri(name)])) as {
        offset: number;
        length: number;
        type: number;
      }[];
      expect(map.filter(extent => extent.type === 3).reduce((sum, extent) => sum + extent.length, 0)).toBeGreaterThan(50 * MIB);
      expect(map.reduce((sum, extent) => sum + extent.length, 0)).toBe(SIZE);
    } else expect(readFileSync(filePath).equals(readFileSync(source))).toBe(true);
    await check(['nbdcopy', '--request-size=33554432', '--synchronous', server.uri(name), back]);
    await check(['cmp', source, back]);
  });

  test('nbddump', async () => {
    await check(['qemu-io', '-f', 'raw', '-c', 'write -P 0x41 4k 4k', server.uri()]);
    const dump = await check(['nbddump', '--length=16384', server.uri()]);
    expect(dump).toContain('41 41 41 41 41 41 41 41');
    expect(dump.split('\n')[0]).toMatch(/^0+: 00 00/);
  });

  test.skipIf(!existsSync('/dev/fuse'))('nbdfuse: the disk as a file of this machine', async () => {
    const [directory, source] = [join(server.directory, 'mnt'), join(server.directory, 'source')];
    mkdirSync(directory);
    sparseImage(source);
    const fuse = TestProcess.start([program('nbdfuse'), directory, server.uri()]);
    const file = join(directory, 'nbd');
    try {
      await fuse.waitUntil('nbdfuse has mounted it', 20_000, () => existsSync(file) && statSync(file).size === SIZE);
      await check(['dd', `if=${source}`, `of=${file}`, 'bs=1M', 'conv=notrunc,fsync', 'status=none']);
      await check(['cmp', source, file]);
    } finally {
      await run(['umount', directory]);
      await fuse.stop();
    }
    await check(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, server.uri()]);
  });

  test('a client shaped like Xen’s tapdisk: READ, WRITE, BLOCK_STATUS and DISC alone, 352 of them under way', async () => {
    const client = await RawClient.ready(server.socketPath, 'file', { contexts: true });
    const [count, bytes] = [352, 44 << 10];
    const data = randomBytes(count * bytes);
    const piece = (i: number): Buffer => data.subarray(i * bytes, (i + 1) * bytes);
    const all = Array.from({ length: count }, (_, i) => ({ offset: i * bytes, length: bytes, cookie: BigInt(i) }));
    client.request(...all.map((one, i) => ({ ...one, type: 1, payload: piece(i) })));
    for (let i = 0; i < count; i++) expect((await client.outcome()).errno).toBe(0);
    client.request(...all.map(one => ({ ...one, type: 0 })));
    for (let left = count; left > 0;) {
      const reply = await client.reply();
      if (reply.kind !== 'chunk' || reply.type !== 1) throw new Error(`no data: ${reply.kind}`);
      const at = Number(Buffer.from(reply.data).readBigUInt64BE(0));
      expect(Buffer.compare(reply.data.subarray(8), data.subarray(at, at + reply.data.length - 8))).toBe(0);
      if (reply.done) left--;
    }
    client.request({ type: 7, length: SIZE, cookie: 1n });
    expect(await client.reply()).toMatchObject({ kind: 'chunk', type: 5, done: true });
    client.request({ type: 2 });
    expect((await client.end()).length).toBe(0);
  });

  test('nbdsh: every command and flag, and errors by name', async () => {
    const script = `
import errno
def fails(code, call, *args):
    try: call(*args)
    except nbd.Error as error:
        assert error.errnum == code, (error.errnum, code)
        return
    raise AssertionError("no error")
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri("${server.uri()}")
assert h.get_structured_replies_negotiated() and h.can_meta_context("base:allocation")
h.pwrite(b"x" * 100000, 77, nbd.CMD_FLAG_FUA)
assert h.pread(100000, 77) == b"x" * 100000
assert h.pread(100000, 77, nbd.CMD_FLAG_DF) == b"x" * 100000
h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)
h.trim(8192, 8192, nbd.CMD_FLAG_FUA)
h.cache(1 << 20, 0)
h.flush()
assert h.pread(20480, 0) == bytes(77) + b"x" * 4019 + bytes(12288) + b"x" * 4096
entries = []
h.block_status(${SIZE}, 0, lambda name, offset, found, error: entries.extend(found))
assert entries == [4096, 0, 4096, 2, 8192, 3, 86016, 0, ${SIZE} - 102400, 3], entries
fails(errno.EINVAL, h.pread, 512, ${SIZE})
fails(errno.EOVERFLOW, h.pread, 2 << 20, 0, nbd.CMD_FLAG_DF)
fails(errno.ENOSPC, h.pwrite, b"1", ${SIZE})
fails(errno.ENOSPC, h.zero, 512, ${SIZE})
fails(errno.EINVAL, h.trim, 512, ${SIZE})
fails(errno.EINVAL, h.pread, 0, 0)
fails(errno.EINVAL, h.flush, 0x100)
assert h.pread(1, 77) == b"x"
h.shutdown()
`;
    await check(['/usr/bin/python3', '-c', `import nbd\nh = nbd.NBD()\n${script}`]);
    const readOnly = `h.connect_uri("${server.uri('ro')}"); h.set_strict_mode(0)
try: h.pwrite(b"1", 0)
except nbd.Error as error: print(error.errnum)
h.pread(512, 0)`;
    expect((await check(['/usr/bin/python3', '-c', `import nbd\nh = nbd.NBD()\n${readOnly}`])).trim()).toBe('1');
  });

  test('QEMU: convert, compare, map, bench', async () => {
    const [raw, qcow] = [join(server.directory, 'raw'), join(server.directory, 'qcow2')];
    sparseImage(raw);
    await check(['qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', raw, server.uri()]);
    await check(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', raw, server.uri()]);
    await check(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', server.uri(), qcow]);
    await check(['qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', qcow, server.uri()]);
    const map = JSON.parse(await check(['qemu-img', 'map', '--output=json', '-f', 'raw', server.uri()])) as {
      length: number;
      zero: boolean;
    }[];
    expect(map.some(extent => extent.zero)).toBe(true);
    expect(map.reduce((sum, extent) => sum + extent.length, 0)).toBe(SIZE);
    for (const flags of [[], ['-w'], ['-w', '--flush-interval=64']])
      await check(['qemu-img', 'bench', '-f', 'raw', '-t', 'none', '-d', '32', '-s', '4096', '-c', '2000', ...flags, server.uri()]);
  });

  test.each(['disk', 'file'])('qemu-io, %s', async name => {
    const commands = [
      'write -P 0x11 0 64k',
      'write -f -P 0x22 100k 5M',
      'read -P 0x22 100k 5M',
      'read -P 0x11 0 64k',
      'write -z 8k 8k',
      'write -z -u 32k 8k',
      'read -P 0 8k 8k',
      'read -P 0x11 16k 16k',
      'read -P 0 32k 8k',
      'discard 1M 1M',
      'read -P 0x22 2M 64k',
      'flush',
      'aio_write -P 0x33 20M 2M',
      'aio_write -P 0x34 24M 2M',
      'aio_flush',
      'read -P 0x33 20M 2M',
      'read -P 0x34 24M 2M',
    ];
    const output = await check(['qemu-io', '-f', 'raw', ...commands.flatMap(command => ['-c', command]), server.uri(name)]);
    expect(output).not.toMatch(/failed|error|mismatch/i);
  });

  test.each(['disk', 'file'])('fio with verify at QD64, %s', async name => {
    for (const [bs, jobs] of [
      ['4k', '2'],
      ['68k', '1'],
      ['1536k', '1'],
    ]) {
      const args = [
        '--ioengine=nbd',
        `--uri=${server.uri(name)}`,
        '--rw=randrw',
        `--bs=${bs!}`,
        '--iodepth=64',
        `--numjobs=${jobs!}`,
        '--offset_increment=24m',
      ];
      await check(['fio', '--name=verify', ...args, '--size=24m', '--verify=crc32c', '--verify_fatal=1', '--randseed=7'], {
        cwd: server.directory,
      });
    }
  });

  test('nbdkit’s nbd plugin in between', async () => {
    const socket = join(server.directory, 'k');
    const proxy = TestProcess.start([program('nbdkit'), '-f', '-U', socket, 'nbd', `uri=${server.uri()}`]);
    const uri = `nbd+unix:///?socket=${socket}`;
    try {
      await proxy.waitUntil('nbdkit serves', 10_000, async () => (await run(['nbdinfo', '--size', uri])).code === 0);
      const source = join(server.directory, 'source');
      sparseImage(source);
      await check(['nbdcopy', source, uri]);
      await check(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, uri]);
      await check(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, server.uri()]);
    } finally {
      await proxy.stop();
    }
  });
});
