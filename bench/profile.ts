import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** The parts of a V8 CPU profile that are used here (Chrome DevTools protocol, Profiler.Profile). */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const SHOWN = 15;

/** Arguments of node that make it write one profile per thread into `dir` when it ends. */
export function profilingArguments(dir: string): readonly string[] {
  return ['--cpu-prof', `--cpu-prof-dir=${dir}`];
}

/** Where the time went, by function, without what it called: one table per thread that did anything. */
export function printProfiles(dir: string, print: (line: string) => void): void {
  for (const name of readdirSync(dir).filter(file => file.endsWith('.cpuprofile'))) {
    const selfMs = selfTimes(JSON.parse(readFileSync(join(dir, name), 'utf8')) as CpuProfile);
    const idleMs = selfMs.get('(idle)') ?? 0;
    const totalMs = [...selfMs.values()].reduce((sum, ms) => sum + ms, 0);
    if (totalMs - idleMs < 100) continue;
    print(`\n${basename(name)}: ${Math.round(totalMs)} ms, idle ${Math.round(idleMs)} ms`);
    const busiest = [...selfMs].sort(([, a], [, b]) => b - a).slice(0, SHOWN);
    for (const [where, ms] of busiest) print(`  ${((ms / totalMs) * 100).toFixed(1).padStart(5)} %  ${where}`);
  }
}

function selfTimes(profile: CpuProfile): Map<string, number> {
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const selfMs = new Map<string, number>();
  profile.samples.forEach((node, index) => {
    const name = names.get(node) ?? '?';
    selfMs.set(name, (selfMs.get(name) ?? 0) + (profile.timeDeltas[index] ?? 0) / 1000);
  });
  return selfMs;
}

function nameOf(frame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }): string {
  const place = frame.url === '' ? '' : ` (${frame.url.split('/').slice(-3).join('/')}:${frame.lineNumber + 1})`;
  return `${frame.functionName === '' ? '(anonymous)' : frame.functionName}${place}`;
}
