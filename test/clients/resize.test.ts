import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Qmp } from '../guest/runner/qmp.js';
import { gatepath, GatepathUp, runGatepath } from '../support/gatepath.js';
import { check, TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('qemu-img', 'qemu-io', 'nbdinfo', 'nbdsh', 'qemu-system-x86_64');
const KIB = 1 << 10;
const MIB = 1 << 20;
/** nbdsh starts the first python3 it finds; libnbd's module belongs to the system's. */
const SYSTEM_PYTHON = { PATH: `/usr/bin:/bin:${process.env['PATH'] ?? ''}` };

interface MapAnswer {
  readonly sizeBytes: number;
  readonly ranges: readonly { readonly offsetBytes: number; readonly lengthBytes: number; readonly state: string }[];
  readonly bytes: Readonly<Record<string, number>>;
  readonly copies: readonly { readonly node: string; readonly allocatedBytes: number | null }[];
}

/** Connects, says so, waits to be told, then looks beyond the end that there is now: the client itself is told not to measure. */
const lookBeyond = (uri: string, go: string): string => `
import errno, os, time
uri, go = ${JSON.stringify([uri, go])}
h.set_strict_mode(0)
h.connect_uri(uri)
h.pwrite(b"a" * 4096, 0)
open(go + ".connected", "w").close()
while not os.path.exists(go): time.sleep(0.05)
def errno_of(call):
    try: call()
    except nbd.Error as e: return errno.errorcode[e.errnum]
    return "none"
offset = 48 << 20
print(errno_of(lambda: h.pwrite(b"b" * 4096, offset)), errno_of(lambda: h.zero(4096, offset)),
      errno_of(lambda: h.trim(4096, offset)), errno_of(lambda: h.pread(4096, offset)), h.pread(1, 0))
`;

describe.skipIf(missing.length > 0)(`a vdisk that is resized${missingNote(missing)}`, () => {
  let dir: string;
  let system: GatepathUp;
  let uri: string;
  let data: readonly string[];

  beforeAll(async () => {
    dir = makeTempDir('resize');
    system = new GatepathUp({ dataDir: join(dir, 'data'), vdisk: 'one', size: '64M' });
    data = ['--data', system.options.dataDir];
    uri = `nbd+unix:///one?socket=${system.socket}`;
    await system.start();
  });

  afterAll(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  const io = (...commands: readonly string[]): Promise<string> =>
    check(['qemu-io', '-f', 'raw', ...commands.flatMap(command => ['-c', command]), uri]);
  /** As nbdinfo, qemu-img and the map have it; the map has no gaps. */
  const sizes = async (): Promise<readonly number[]> => {
    const info = JSON.parse(await check(['qemu-img', 'info', '-f', 'raw', '--output=json', uri])) as { 'virtual-size': number };
    const { sizeBytes, ranges } = await map();
    expect(ranges.reduce((at, { offsetBytes, lengthBytes }) => (at === offsetBytes ? at + lengthBytes : NaN), 0)).toBe(sizeBytes);
    return [Number(await check(['nbdinfo', '--size', uri])) / MIB, info['virtual-size'] / MIB, sizeBytes / MIB];
  };
  const map = async (): Promise<MapAnswer> => JSON.parse(await gatepath('vdisk', 'map', 'one', '--json', ...data)) as MapAnswer;

  it('grows: new connections see it, the new part is empty, and is used', async () => {
    await io('write -P 0x11 63M 1M');
    expect(await sizes()).toEqual([64, 64, 64]);
    const text = await gatepath('vdisk', 'resize', 'one', '96M', ...data);
    expect(text).toContain('resized, 64 MiB to 96 MiB');
    expect(text).toContain('new NBD connections see 96 MiB');
    expect(text).toContain('keep the size that they know');
    expect(await sizes()).toEqual([96, 96, 96]);
    await io('read -P 0x11 63M 1M', 'read -P 0 64M 32M', 'write -P 0x22 95M 1M', 'read -P 0x22 95M 1M');
    expect(JSON.parse(await gatepath('vdisk', 'show', 'one', '--json', ...data))).toMatchObject({ sizeBytes: 96 * MIB });
  });

  it('is not cut short without being told to, and says what would go', async () => {
    const refused = await runGatepath('vdisk', 'resize', 'one', '32M', ...data);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/64 MiB at its end would be cut off, with 2 MiB of data.*\n.*--shrink/),
    ]);
    expect(await sizes()).toEqual([96, 96, 96]);
    await io('read -P 0x22 95M 1M');
    expect((await runGatepath('vdisk', 'resize', 'one', 'much', ...data)).code).toBe(2);
    expect((await runGatepath('vdisk', 'resize', 'none', '1G', ...data)).stderr).toContain('no vdisk named "none"');
  });

  it('is cut short under a client, which is told what it may not do any more, and grown again reads zeroes there', async () => {
    const go = join(dir, 'go');
    const client = TestProcess.start(['nbdsh', '-c', lookBeyond(uri, go)], { env: SYSTEM_PYTHON });
    await waitFor('the client is connected', 30_000, () => existsSync(`${go}.connected`));
    expect(await gatepath('vdisk', 'resize', 'one', '32M', '--shrink', ...data)).toContain('cut off: 64 MiB, with 2 MiB of data');
    writeFileSync(go, '');
    await client.exited;
    expect(client.stdout.trim()).toBe(`ENOSPC ENOSPC EINVAL EINVAL bytearray(b'a')`);
    expect(await sizes()).toEqual([32, 32, 32]);
    await gatepath('vdisk', 'resize', 'one', '96M', ...data);
    await io('read -P 0 32M 64M', 'write -P 0x33 33M 1M');
  });

  it('has the size that its log says after a killed process, and nothing of what was cut off', async () => {
    await gatepath('vdisk', 'resize', 'one', '40M', '--shrink', ...data);
    await gatepath('vdisk', 'resize', 'one', '80M', ...data);
    await system.kill();
    await system.start();
    expect(await sizes()).toEqual([80, 80, 80]);
    await io('read -P 0x33 33M 1M', 'read -P 0 40M 40M');
  });

  it('maps data, zeroes and holes as they were written, and as nbdinfo maps them', async () => {
    await gatepath('vdisk', 'resize', 'one', '4K', '--shrink', ...data);
    await gatepath('vdisk', 'resize', 'one', '3G', ...data);
    await io('write -P 1 1M 2M', 'write -z 2M 64k', 'discard 1M 4k', 'write -P 2 2G 12k');
    const { sizeBytes, ranges, bytes, copies } = await map();
    expect(sizeBytes).toBe(3 * 1024 * MIB);
    // What has been cut off before, and grown again, was zeroed as far as there was a segment.
    expect(ranges.map(one => [one.state, one.offsetBytes, one.lengthBytes])).toEqual([
      ['data', 0, KIB * 4],
      ['zero', KIB * 4, MIB],
      ['data', MIB + KIB * 4, MIB - KIB * 4],
      ['zero', 2 * MIB, KIB * 64],
      ['data', 2 * MIB + KIB * 64, MIB - KIB * 64],
      ['zero', 3 * MIB, 93 * MIB],
      ['hole', 96 * MIB, 1952 * MIB],
      ['data', 2048 * MIB, KIB * 12],
      ['hole', 2048 * MIB + KIB * 12, 1024 * MIB - KIB * 12],
    ]);
    expect(bytes['data']! + bytes['zero']! + bytes['hole']!).toBe(sizeBytes);
    expect(copies).toHaveLength(1);
    const told = JSON.parse(await check(['nbdinfo', '--map', '--json', uri])) as { offset: number; length: number; type: number }[];
    expect(merged(ranges.map(one => [one.offsetBytes, one.lengthBytes, one.state === 'data' ? 0 : 3]))).toEqual(
      merged(told.map(one => [one.offset, one.length, one.type])),
    );
    expect(await gatepath('vdisk', 'map', 'one', ...data)).toMatch(/OFFSET +LENGTH +STATE\n +0 +4096 +data\n/);
  });

  it.each([
    ['two', 'in its main thread', [], ''],
    ['three', 'in an iothread', ['-object', 'iothread,id=io0'], ',iothread=io0'],
  ])('%s: is resized in a running QEMU by --qmp, %s, whose disk has the size then and goes on', async (name, _, objects, options) => {
    await gatepath('vdisk', 'create', name, '64M', ...data);
    const [blockdev, device] = (await gatepath('attach', name, '--format', 'qemu', ...data)).trim().split(' -device ');
    const socket = join(dir, `${name}.qmp`);
    const qemu = TestProcess.start(
      [
        ...['qemu-system-x86_64', '-S', '-display', 'none', '-machine', 'q35', '-m', '64', '-qmp', `unix:${socket},server=on,wait=off`],
        ...['-blockdev', blockdev!.replace('-blockdev ', ''), ...objects, '-device', device! + options],
      ],
      {},
    );
    try {
      await waitFor('QEMU listens', 30_000, () => existsSync(socket));
      for (const [size, flags] of [
        ['128M', []],
        ['32M', ['--shrink']],
      ] as const) {
        const text = await gatepath('vdisk', 'resize', name, size, ...flags, '--qmp', socket, ...data);
        expect(text).toContain('has been told');
        const qmp = await Qmp.open(socket);
        const disks = (await qmp.execute('query-block')) as { inserted?: { 'node-name': string; image: { 'virtual-size': number } } }[];
        const nodes = (await qmp.execute('query-named-block-nodes')) as { 'node-name': string }[];
        qmp.close();
        expect(disks.flatMap(({ inserted }) => (inserted ? [[inserted['node-name'], inserted.image['virtual-size'] / MIB]] : []))).toEqual([
          [`gp-${name}`, Number.parseInt(size)],
        ]);
        expect(nodes.map(one => one['node-name'])).toEqual([`gp-${name}`]);
      }
      await gatepath('detach', 'one', ...data);
      const alone = await runGatepath('vdisk', 'resize', 'one', '5G', '--qmp', socket, ...data);
      expect([alone.code, alone.stderr]).toEqual([1, expect.stringContaining('attached nowhere')]);
      expect(await gatepath('vdisk', 'show', 'one', ...data)).toMatch(/size +[34] GiB[^]*attached +nowhere/);
      await gatepath('attach', 'one', ...data);
      const strange = await runGatepath('vdisk', 'resize', 'one', '4G', '--qmp', socket, ...data);
      expect([strange.code, strange.stderr]).toEqual([1, expect.stringContaining('has no disk with a block node "gp-one"')]);
    } finally {
      await qemu.kill();
    }
  });
});

/** Neighbours alike are one. */
function merged(extents: readonly (readonly [number, number, number])[]): [number, number, number][] {
  const all: [number, number, number][] = [];
  for (const [offset, length, type] of extents) {
    const last = all.at(-1);
    if (last?.[2] === type) last[1] += length;
    else all.push([offset, length, type]);
  }
  return all;
}
