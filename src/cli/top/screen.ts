import type { NodeRates, Rates, VdiskRates } from './rates.js';

/** What vdisks are sorted by, and the key that chooses it. */
export const SORTS = {
  i: { title: 'IOPS', of: (one: VdiskRates) => one.readIops + one.writeIops },
  b: { title: 'bandwidth', of: (one: VdiskRates) => one.readBytes + one.writeBytes },
  l: { title: 'p99', of: (one: VdiskRates) => one.p99Us ?? -1 },
  d: { title: 'queue depth', of: (one: VdiskRates) => one.depth },
  n: { title: 'name', of: null },
} as const;
export type SortKey = keyof typeof SORTS;

export const HELP = [
  'keys:',
  ...Object.entries(SORTS).map(([key, { title }]) => `  ${key}  sort by ${title}`),
  '  space  look now',
  '  ?  this help, and back',
  '  q  end',
];

export interface ScreenState {
  readonly sort: SortKey;
  readonly showsHelp: boolean;
  readonly clock: string;
  /** Why there is nothing new; empty: there is. */
  readonly problem: string;
}

/** The lines of a screen of so many columns and rows, none longer or more than that. Vdisks that do not fit are counted. */
export function screen(rates: Rates, { sort, showsHelp, clock, problem }: ScreenState, columns: number, rows: number): string[] {
  const cut = (line: string): string => (line.length > columns ? line.slice(0, columns) : line);
  if (showsHelp) return HELP.slice(0, rows).map(cut);
  const head = [`gatepath top  ${clock}  over ${rates.seconds.toFixed(1)} s, by ${SORTS[sort].title}; times in µs (? for help)`];
  if (problem !== '') head.push(`! ${problem}`);
  head.push(...rates.nodes.flatMap(nodeLines), ...cpuLines(rates, columns), '');
  const hops = ['', ...hopTable(rates)];
  // On a low screen the vdisks come first.
  const room = Math.max(Math.min(rates.vdisks.length + 1, LEAST_VDISK_LINES), rows - head.length - hops.length);
  const vdisks = vdiskTable(rates.vdisks, sort, room, columns);
  return [...head, ...vdisks, ...hops].slice(0, rows).map(cut);
}

/** One look in a pipe: a line for each vdisk and hop, the same columns in each. */
export function plainLines(rates: Rates, sort: SortKey, clock: string): string[] {
  const vdisks = sorted(rates.vdisks, sort).map(one => {
    const { name, readIops, writeIops, readBytes, writeBytes, depth } = one;
    const state = one.isCutOff ? ' CUT-OFF' : '';
    return `${clock} vdisk ${name} r/s=${readIops.toFixed(0)} w/s=${writeIops.toFixed(0)} rB/s=${readBytes.toFixed(0)} wB/s=${writeBytes.toFixed(0)} ${timesText(one)} depth=${depth}${state}`;
  });
  const hops = rates.hops.map(
    one =>
      `${clock} hop ${one.hop} /s=${one.perSecond.toFixed(0)} B/s=${one.bytes.toFixed(0)} ${timesText(one)} queue-p99us=${usText(one.queueP99Us)}`,
  );
  const shards = rates.shards.map(
    ({ process, shard, cpu }) => `${clock} shard ${process}/${shard} cpu=${cpu === null ? '-' : (100 * cpu).toFixed(0)}%`,
  );
  const nodes = rates.nodes.flatMap(nodeLines).map(line => `${clock} node ${line}`);
  return [...vdisks, ...hops, ...shards, ...nodes];
}

const timesText = ({ p50Us, p99Us, p999Us }: { p50Us: number | null; p99Us: number | null; p999Us: number | null }): string =>
  `p50us=${usText(p50Us)} p99us=${usText(p99Us)} p99.9us=${usText(p999Us)}`;

/** How it is; and, where that is so, what is wrong. */
function nodeLines({
  node,
  cacheHits,
  oplogUsedBytes,
  oplogBytes,
  drainBytes,
  freeBytes,
  spaceBytes,
  notServed,
  lostBlocks,
  damagedBlocks,
}: NodeRates): string[] {
  const oplog = oplogBytes === 0 ? '-' : `${Math.round((100 * oplogUsedBytes) / oplogBytes)}%`;
  const cache = cacheHits === null ? '-' : `${(100 * cacheHits).toFixed(1)}%`;
  const free = spaceBytes === 0 ? '-' : `${Math.round((100 * freeBytes) / spaceBytes)}%`;
  const trouble = [
    ...(notServed > 0 ? [`NOT SERVED ${notServed}`] : []),
    ...(damagedBlocks > 0 ? [`DAMAGED ${damagedBlocks} blocks, lost ${lostBlocks}`] : []),
  ];
  const line = [`${node}: cache ${cache}`, `oplog ${oplog}`, `drains ${short(drainBytes)}/s`, `free ${free}`].join('  ');
  return trouble.length === 0 ? [line] : [line, `${node}: ${trouble.join('  ')}`];
}

function cpuLines({ shards }: Rates, columns: number): string[] {
  const known = shards.filter(({ cpu }) => cpu !== null);
  if (known.length === 0) return [];
  const several = new Set(known.map(one => one.process)).size > 1;
  const cells = known.map(({ process, shard, cpu }) => `${several ? `${process}/` : ''}${shard} ${Math.round(100 * cpu!)}%`);
  const lines = ['cpu  '];
  for (const cell of cells) {
    if (lines.at(-1)!.length + cell.length > columns) lines.push('     ');
    lines[lines.length - 1] += `${cell}  `;
  }
  return lines.map(line => line.trimEnd());
}

function sorted(vdisks: readonly VdiskRates[], sort: SortKey): VdiskRates[] {
  const { of } = SORTS[sort];
  return [...vdisks].sort((a, b) => (of === null ? 0 : of(b) - of(a)) || a.name.localeCompare(b.name));
}

const LEAST_VDISK_LINES = 6;
const NUMBERS = ['R/s', 'W/s', 'R B/s', 'W B/s', 'P50', 'P99', 'P99.9', 'QD'];
const NUMBER_COLUMNS = 8;

function vdiskTable(vdisks: readonly VdiskRates[], sort: SortKey, room: number, columns: number): string[] {
  const width = Math.max(5, Math.min(Math.max(5, ...vdisks.map(({ name }) => name.length)), columns - NUMBERS.length * NUMBER_COLUMNS));
  const row = (name: string, cells: readonly string[]): string =>
    `${name.length > width ? `${name.slice(0, width - 1)}~` : name.padEnd(width)}${cells.map(cell => cell.padStart(NUMBER_COLUMNS)).join('')}`;
  const all = sorted(vdisks, sort);
  const shown = all.length <= room - 1 ? all : all.slice(0, Math.max(0, room - 2));
  const lines = shown.map(one =>
    row(one.name, [
      ...[one.readIops, one.writeIops, one.readBytes, one.writeBytes].map(short),
      ...[one.p50Us, one.p99Us, one.p999Us].map(usText),
      one.isCutOff ? 'CUT OFF' : String(one.depth),
    ]),
  );
  const rest = all.length - shown.length;
  return [row('VDISK', NUMBERS), ...lines, ...(rest > 0 ? [`and ${rest} more`] : [])];
}

function hopTable({ hops }: Rates): string[] {
  const row = (cells: readonly string[]): string =>
    `${cells[0]!.padEnd(12)}${cells
      .slice(1)
      .map(cell => cell.padStart(10))
      .join('')}`;
  return [
    row(['HOP', '/s', 'B/s', 'Q P99', 'P50', 'P99', 'P99.9']),
    ...hops.map(({ hop, perSecond, bytes, queueP99Us, p50Us, p99Us, p999Us }) =>
      row([hop, short(perSecond), short(bytes), ...[queueP99Us, p50Us, p99Us, p999Us].map(usText)]),
    ),
  ];
}

/** `1234567` → `1.2M`; bytes by 1024 would need a wider column for what nobody reads here. */
function short(value: number): string {
  for (const [unit, least] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (value >= least) return `${(value / least).toFixed(value >= 100 * least ? 0 : 1)}${unit}`;
  }
  return value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

/** µs, from 10,000 on ms. */
function usText(us: number | null): string {
  if (us === null) return '-';
  if (us >= 1e4) return `${(us / 1e3).toFixed(us >= 1e6 ? 0 : 1)}ms`;
  return us >= 100 ? us.toFixed(0) : us.toFixed(1);
}
