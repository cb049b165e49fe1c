import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** USER_HZ of every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface MachineFacts {
  readonly cpu: string;
  readonly cpuCount: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly device: string;
  readonly fileSystem: string;
  readonly revision: string;
  readonly date: string;
}

export function machineFacts(dir: string): MachineFacts {
  const all = cpus();
  return {
    cpu: all[0]?.model ?? 'unknown',
    cpuCount: all.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    device: diskCounters(dir)?.device ?? 'unknown',
    fileSystem: output('stat', ['-f', '-c', '%T', dir]),
    revision: output('git', ['describe', '--always', '--dirty']),
    date: new Date().toISOString(),
  };
}

function output(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

export interface DiskCounters {
  readonly device: string;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly flushes: number;
}

/** /proc/diskstats of the device that holds `dir` (Documentation/admin-guide/iostats.rst); undefined where it has none. */
export function diskCounters(dir: string): DiskCounters | undefined {
  const { dev } = statSync(dir);
  const major = (dev >> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
  for (const line of readFileSync('/proc/diskstats', 'utf8').split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields[0] !== String(major) || fields[1] !== String(minor)) continue;
    return { device: fields[2]!, writes: Number(fields[7]), writtenBytes: Number(fields[9]) * 512, flushes: Number(fields[18] ?? 0) };
  }
  return undefined;
}

/** CPU seconds that all CPUs together have been busy. */
export function busyCpuSeconds(): number {
  const fields = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.trim().split(/\s+/).slice(1).map(Number);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = fields;
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}

/** CPU seconds of a process with all its threads and of its children, however deep; 0 for what is gone. */
export function processCpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    let seconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim();
      for (const child of children.split(' ')) if (child !== '') seconds += processCpuSeconds(Number(child));
    }
    return seconds;
  } catch {
    return 0;
  }
}

/** What a process has: memory that is resident, and open descriptors. */
export function processUsage(pid: number): { readonly rssKib: number; readonly descriptors: number } {
  const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1];
  return { rssKib: Number(rss), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** CPU seconds of all children of this process that have ended. */
export function endedChildrenCpuSeconds(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
}
