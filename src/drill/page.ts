import { escape, picture } from './picture.js';
import { boundText, type Report, type ScenarioSummary } from './report.js';
import type { RoundReport } from './round.js';

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fff; --faint: #dfe3ea; --soft: #5c6675; --p50: #1f6fd1; --p99: #d1621f; --max: #d1621f55;
  --rate: #1f6fd133; --gap: #d11f3a22; --fault: #c4122f; --heal: #1a8a4a; --state: #7a5bd0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --paper: #14181f; --faint: #2b323d; --soft: #98a2b3; --p50: #6fb0ff; --p99: #ffa15f;
  --max: #ffa15f55; --rate: #6fb0ff33; --gap: #ff6b8133; --fault: #ff6b81; --heal: #5fd08f; --state: #b7a0ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1160px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; } p { margin: .3rem 0; } .soft { color: var(--soft); }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; } td, th { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid var(--faint); }
td.number { text-align: right; } .bad { color: var(--fault); font-weight: 600; } .good { color: var(--heal); }
svg { width: 100%; height: auto; display: block; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } .left { text-anchor: end; } .below { text-anchor: middle; }
.grid { stroke: var(--faint); fill: none; } .p50 { stroke: var(--p50); fill: none; stroke-width: 1.5; } .p99 { stroke: var(--p99); fill: none; stroke-width: 1.2; }
.max { stroke: var(--max); fill: none; } .rate { fill: var(--rate); stroke: none; } .gap { fill: var(--gap); } .mark { text-anchor: middle; font-weight: 700; }
.fault path { stroke: var(--fault); } .fault text { fill: var(--fault); } .heal path { stroke: var(--heal); } .heal text { fill: var(--heal); }
.state path { stroke: var(--state); stroke-dasharray: 3 3; } .state text { fill: var(--state); }
ol { margin: .4rem 0; padding-left: 1.8rem; } li.fault { color: var(--fault); } li.heal { color: var(--heal); } li.state { color: var(--state); }
pre { overflow-x: auto; font-size: 12px; } .key { display: inline-block; width: 1.6em; border-top: 3px solid; vertical-align: middle; margin: 0 .3em 0 1em; }
`;

/** The whole report as one page that needs nothing else. */
export function page(report: Report): string {
  const { scenarios, skipped, rounds, machine, facts } = report;
  const title = `Gatepath drill: ${report.passed ? 'passed' : 'failed'}`;
  const system = `${facts.nodes} node${facts.nodes === 1 ? '' : 's'}, ${facts.etcd} etcd, ${machine.cpus} processors, kernel ${machine.kernel}, Node ${machine.node}`;
  const load = Object.entries(report.load).map(([name, value]) => `${name} ${value}`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title><style>${STYLE}</style></head><body>
<h1>Gatepath drill: <span class="${report.passed ? 'good' : 'bad'}">${report.passed ? 'passed' : 'failed'}</span></h1>
<p class="soft">${escape(report.startedAt)} to ${escape(report.endedAt)}; ${escape(system)}. Load: ${escape(load.join(', '))}; seed ${report.seed}.</p>
${overview(scenarios)}
${skipped.map(({ scenario, why }) => `<p class="soft">${escape(scenario)} was left out: ${escape(why)}</p>`).join('\n')}
${replicaText(report)}
${scenarios.map(one => section(one, rounds)).join('\n')}
</body></html>
`;
}

function replicaText({ replicas }: Report): string {
  if (replicas === null) return '';
  const served = `Copies: everything was read from ${replicas.served.map(({ node }) => node).join(', ')}, each in turn the controller.`;
  const failures = replicas.failures.map(failure => `<p class="bad">${escape(failure)}</p>`);
  return [`<p>${escape(served)}</p>`, ...failures].join('\n');
}

function overview(scenarios: readonly ScenarioSummary[]): string {
  const rows = scenarios.map(one =>
    row([
      escape(one.scenario),
      String(one.rounds),
      count(one.failedRounds),
      boundText(one.bound),
      number(one.worstMs),
      number(one.medianMs),
      count(one.missedRounds),
      one.redundantAfterMs === null ? '<span class="bad">never</span>' : number(one.redundantAfterMs),
    ]),
  );
  const titles = ['scenario', 'rounds', 'failed', 'bound', 'worst ms', 'median ms', 'missed', 'whole again after ms'];
  return table(titles, rows);
}

function section(summary: ScenarioSummary, rounds: readonly RoundReport[]): string {
  const worst = rounds[summary.worstRound]!;
  const mine = rounds.filter(round => round.scenario === summary.scenario);
  const key = ['p50', 'p99', 'max'].map(name => `<span class="key" style="border-color: var(--${name})"></span>${name}`).join('');
  return `<h2>${escape(summary.scenario)}: ${escape(summary.title)}</h2>
<p class="soft">The worst round. ${key}; shaded: the longest gap, ${number(worst.longestGapMs)} ms; below: answers per second.</p>
${picture(worst)}
<ol>${worst.marks.map(mark => `<li class="${mark.kind}">${(mark.atMs / 1_000).toFixed(3)} s: ${escape(mark.what)}</li>`).join('')}</ol>
<p class="soft">${escape(cpuText(worst))}</p>
${table(ROUND_TITLES, mine.map(roundRow))}
${mine.map(failureText).join('\n')}`;
}

const ROUND_TITLES = [
  ...['round', 'verdict', 'operations', 'measured ms', 'longest gap ms', 'quiet gap ms', 'resume ms'],
  ...['whole after ms', 'p50 before', 'p99 before', 'p99 during', 'p99 after', 'client lag ms'],
];

function roundRow(round: RoundReport, i: number): string {
  return row([
    String(i + 1),
    round.passed ? '<span class="good">passed</span>' : '<span class="bad">failed</span>',
    String(round.operations),
    `<span class="${round.boundKept ? 'good' : 'bad'}">${number(round.measuredMs)}</span>`,
    ...[round.longestGapMs, round.quietGapMs, round.resumeMs, round.redundantAfterMs].map(number),
    ...[round.before.p50Ms, round.before.p99Ms, round.during.p99Ms, round.after.p99Ms, round.clientLagMs].map(number),
  ]);
}

function failureText(round: RoundReport, i: number): string {
  if (round.passed) return '';
  const events = [...round.errorEvents, ...round.disconnectEvents].map(({ atMs, what }) => `${(atMs / 1_000).toFixed(3)} s ${what}`);
  const findings = round.verdict.findings.flatMap(({ fault, block, message, operations }) => [
    `${fault}, block ${block}: ${message}`,
    ...operations.map(one => `    ${JSON.stringify(one)}`),
  ]);
  return `<h3 class="bad">Round ${i + 1} failed</h3><pre>${escape([...round.failures, ...events, ...findings].join('\n'))}</pre>`;
}

function cpuText({ cpu }: RoundReport): string {
  const each = Object.entries(cpu.processes).map(([name, seconds]) => `${name} ${seconds.toFixed(1)}`);
  return `Processor seconds in ${cpu.wallSeconds} s: ${cpu.busySeconds} busy, ${cpu.idleSeconds} idle; ${each.join(', ')}.`;
}

const table = (titles: readonly string[], rows: readonly string[]): string =>
  `<table><tr>${titles.map(one => `<th>${escape(one)}</th>`).join('')}</tr>${rows.join('')}</table>`;
const row = (cells: readonly string[]): string =>
  `<tr>${cells.map(cell => `<td${/^[\d.]+$/.test(cell) ? ' class="number"' : ''}>${cell}</td>`).join('')}</tr>`;
const count = (value: number): string => (value === 0 ? '0' : `<span class="bad">${value}</span>`);
const number = (ms: number | null): string => (ms === null || !Number.isFinite(ms) ? '–' : ms.toFixed(ms < 10 ? 2 : 1));
