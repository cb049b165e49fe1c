import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { check, run } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { useClientBench } from './system.js';

const missing = missingPrograms('qemu-img', 'qemu-io');
const MIB = 1024 * 1024;

describe.skipIf(missing.length > 0)(`QEMU's tools${missingNote(missing)}`, () => {
  const bench = useClientBench('qemu', '256M');

  it('qemu-img converts in and out, compares equal, and tells a difference', async () => {
    const { dir, uri } = bench();
    const raw = join(dir, 'raw');
    const qcow2 = join(dir, 'qcow2');
    writeFileSync(raw, Buffer.concat([randomBytes(3 * MIB), Buffer.alloc(8 * MIB), randomBytes(5 * MIB)]));
    await check(['truncate', '-s', '256M', raw]);
    await check(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    await check(['qemu-img', 'convert', '-n', '-W', '-m', '8', '-f', 'qcow2', '-O', 'raw', qcow2, uri]);
    expect(await check(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', raw, uri])).toContain('Images are identical');
    const back = join(dir, 'back');
    await check(['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri, back]);
    await check(['cmp', raw, back]);
    await check(['qemu-io', '-f', 'raw', '-c', 'write -P 0x77 1M 4k', uri]);
    expect(await run(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', raw, uri])).toMatchObject({ code: 1 });
  });

  it('qemu-img map shows data and holes where they are', async () => {
    const { uri } = bench();
    await check([
      'qemu-io',
      '-f',
      'raw',
      '-d',
      'unmap',
      '-c',
      'discard 0 128M',
      '-c',
      'discard 128M 128M',
      '-c',
      'write -P 1 64M 1M',
      '-c',
      'flush',
      uri,
    ]);
    const map = JSON.parse(await check(['qemu-img', 'map', '-f', 'raw', '--output=json', uri])) as MapExtent[];
    const data = map.filter(extent => extent.data).map(({ start, length }) => ({ start, length }));
    expect(data).toEqual([{ start: 64 * MIB, length: MIB }]);
    expect(map.filter(extent => !extent.data).every(extent => extent.zero)).toBe(true);
  });

  it('qemu-io: patterns, zeroes with and without unmap, discard, FUA, many at once, unaligned', async () => {
    const commands = [
      'write -P 0x5a 0 64k',
      'read -P 0x5a 0 64k',
      'write -f -P 0x5b 64k 4k',
      'read -P 0x5b 64k 4k',
      'write -z 16k 8k',
      'read -P 0 16k 8k',
      'write -z -u 32k 8k',
      'read -P 0 32k 8k',
      'read -P 0x5a 24k 8k',
      'write -P 0x11 1048577 1023',
      'read -P 0x11 1048577 1023',
      'discard 0 1M',
      'flush',
      ...Array.from({ length: 32 }, (_, index) => `aio_write -P ${index + 1} ${2 * MIB + index * 8192} 8k`),
      'aio_flush',
      ...Array.from({ length: 32 }, (_, index) => `read -P ${index + 1} ${2 * MIB + index * 8192} 8k`),
    ];
    const result = await run(['qemu-io', '-f', 'raw', '-d', 'unmap', ...commands.flatMap(command => ['-c', command]), bench().uri]);
    expect(result.stdout + result.stderr).not.toMatch(/fail|error/i);
    expect(result.code).toBe(0);
  });
});

interface MapExtent {
  readonly start: number;
  readonly length: number;
  readonly data: boolean;
  readonly zero: boolean;
}
