import { describe, expect, it } from 'vitest';
import { check } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { useClientBench } from './system.js';

const missing = missingPrograms('fio');

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: { readonly total_ios: number };
    readonly write: { readonly total_ios: number };
  }[];
}

describe.skipIf(missing.length > 0)(`fio's nbd engine${missingNote(missing)}`, () => {
  const bench = useClientBench('fio', '256M');

  // fio's nbd engine asks for one connection per job; two jobs are two connections on two parts of the disk.
  it('writes and verifies with 64 in flight', async () => {
    const { dir, uri } = bench();
    const job = [
      '--name=verify',
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randwrite',
      '--bsrange=512-64k',
      '--bs_unaligned=0',
      '--iodepth=64',
    ];
    job.push('--size=48M', '--offset_increment=64M', '--numjobs=2', '--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--randseed=7');
    const report = await fio(dir, job);
    expect(report.jobs).toHaveLength(2);
    for (const { error, read, write } of report.jobs) {
      expect(error).toBe(0);
      expect(write.total_ios).toBeGreaterThan(0);
      expect(read.total_ios).toBeGreaterThan(0);
    }
  });

  it('mixes reads and writes with verify while it writes', async () => {
    const { dir, uri } = bench();
    const job = ['--name=mix', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw', '--bs=4k', '--iodepth=64', '--size=32M', '--offset=160M'];
    job.push('--verify=crc32c', '--verify_fatal=1', '--verify_backlog=64', '--fsync=128', '--randseed=9');
    const report = await fio(dir, job);
    expect(report.jobs[0]).toMatchObject({ error: 0 });
  });
});

/** fio writes notes before its report. */
async function fio(dir: string, job: readonly string[]): Promise<FioReport> {
  const output = await check(['fio', '--output-format=json', ...job], { cwd: dir, timeoutMs: 100_000 });
  return JSON.parse(output.slice(output.indexOf('{\n'))) as FioReport;
}
