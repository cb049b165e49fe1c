import type { RoundReport } from './round.js';

const WIDTH = 1_120;
const LEFT = 64;
const RIGHT = 16;
const TOP = 26;
const LATENCY_HEIGHT = 200;
const RATE_TOP = TOP + LATENCY_HEIGHT + 26;
const RATE_HEIGHT = 60;
const HEIGHT = RATE_TOP + RATE_HEIGHT + 28;
const PLOT = WIDTH - LEFT - RIGHT;
/** The latency axis is logarithmic between these. */
const LEAST_MS = 0.1;
const TIME_STEPS_MS = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000];
const MAX_TICKS = 14;

/** One round over time, as an SVG: latency (p50, p99, longest of each step), answers per second, and what happened when. */
export function picture(round: RoundReport): string {
  const { timeline, endAtMs, marks } = round;
  const mostMs = 10 ** Math.ceil(Math.log10(Math.max(10, ...timeline.maxMs)));
  const x = (ms: number): number => LEFT + (PLOT * Math.min(Math.max(ms, 0), endAtMs)) / endAtMs;
  const y = (ms: number): number =>
    TOP + LATENCY_HEIGHT * (1 - Math.log10(Math.max(ms, LEAST_MS) / LEAST_MS) / Math.log10(mostMs / LEAST_MS));
  const parts = [
    ...latencyAxis(mostMs, y),
    ...timeAxis(endAtMs, x),
    gapShade(round, x),
    bars(round, x, y),
    line('p99', timeline.p99Ms, timeline, x, y),
    line('p50', timeline.p50Ms, timeline, x, y),
    ...rate(round, x),
    ...marks.map((mark, i) => markLine(mark, i + 1, x(mark.atMs))),
  ];
  const label = `latency over time: ${round.scenario}`;
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(label)}">\n${parts.join('\n')}\n</svg>`;
}

export function escape(text: string): string {
  return text.replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`);
}

type Scale = (value: number) => number;

function latencyAxis(mostMs: number, y: Scale): string[] {
  const parts: string[] = [];
  for (let ms = LEAST_MS; ms <= mostMs * 1.001; ms *= 10) {
    const at = n(y(ms));
    const text = ms >= 999 ? `${Math.round(ms / 1_000)} s` : `${Number(ms.toPrecision(1))} ms`;
    parts.push(`<path class="grid" d="M${LEFT} ${at}H${WIDTH - RIGHT}"/><text class="left" x="${LEFT - 6}" y="${at + 4}">${text}</text>`);
  }
  return parts;
}

function timeAxis(endMs: number, x: Scale): string[] {
  const step = TIME_STEPS_MS.find(one => endMs / one <= MAX_TICKS) ?? endMs;
  const parts: string[] = [];
  for (let ms = 0; ms <= endMs; ms += step) {
    const bottom = RATE_TOP + RATE_HEIGHT;
    const seconds = `${Number((ms / 1_000).toFixed(1))} s`;
    parts.push(
      `<path class="grid" d="M${n(x(ms))} ${TOP}V${bottom}"/><text class="below" x="${n(x(ms))}" y="${bottom + 16}">${seconds}</text>`,
    );
  }
  return parts;
}

function gapShade({ longestGapAtMs, longestGapMs }: RoundReport, x: Scale): string {
  const from = x(longestGapAtMs);
  const width = Math.max(1, x(longestGapAtMs + longestGapMs) - from);
  const title = `longest gap: ${longestGapMs.toFixed(1)} ms`;
  return `<rect class="gap" x="${n(from)}" y="${TOP}" width="${n(width)}" height="${RATE_TOP + RATE_HEIGHT - TOP}"><title>${title}</title></rect>`;
}

/** From p99 to the longest of each step. */
function bars({ timeline }: RoundReport, x: Scale, y: Scale): string {
  const path = timeline.maxMs.flatMap((most, i) =>
    most === 0 ? [] : [`M${n(x((i + 0.5) * timeline.stepMs))} ${n(y(timeline.p99Ms[i]!))}V${n(y(most))}`],
  );
  return `<path class="max" d="${path.join('')}"/>`;
}

/** Broken where nothing was answered. */
function line(name: string, values: readonly number[], { stepMs, completions }: RoundReport['timeline'], x: Scale, y: Scale): string {
  let pen = 'M';
  let path = '';
  values.forEach((value, i) => {
    if (completions[i] === 0) pen = 'M';
    else {
      path += `${pen}${n(x((i + 0.5) * stepMs))} ${n(y(value))}`;
      pen = 'L';
    }
  });
  return `<path class="${name}" d="${path}"/>`;
}

function rate({ timeline: { completions, stepMs } }: RoundReport, x: Scale): string[] {
  const most = Math.max(1, ...completions);
  const bottom = RATE_TOP + RATE_HEIGHT;
  const points = completions.map((count, i) => `L${n(x((i + 0.5) * stepMs))} ${n(bottom - (RATE_HEIGHT * count) / most)}`);
  const perSecond = Math.round((most * 1_000) / stepMs);
  return [
    `<path class="rate" d="M${LEFT} ${bottom}${points.join('')}L${n(x(completions.length * stepMs))} ${bottom}Z"/>`,
    `<text class="left" x="${LEFT - 6}" y="${RATE_TOP + 8}">${perSecond}</text><text class="left" x="${LEFT - 6}" y="${bottom}">0 /s</text>`,
  ];
}

function markLine({ kind, what }: RoundReport['marks'][number], number: number, at: number): string {
  return (
    `<g class="${kind}"><title>${escape(what)}</title><path d="M${n(at)} ${TOP}V${RATE_TOP + RATE_HEIGHT}"/>` +
    `<text class="mark" x="${n(at)}" y="${number % 2 === 0 ? 10 : 22}">${number}</text></g>`
  );
}

const n = (value: number): number => Math.round(value * 10) / 10;
