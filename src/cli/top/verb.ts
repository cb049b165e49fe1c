import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import { GatepathError } from '../../base/errors.js';
import { connectSystem, systemOptions, type SystemOptions } from '../system.js';
import { ratesOf, type Rates } from './rates.js';
import { plainLines, screen, SORTS, type SortKey } from './screen.js';
import { Sources } from './sources.js';
import { Terminal } from './terminal.js';

const LEAST_INTERVAL_S = 0.2;
const MOST_INTERVAL_S = 3_600;
const NOTHING: Rates = { seconds: 0, vdisks: [], hops: [], shards: [], nodes: [] };

interface TopFlags extends SystemOptions {
  readonly interval: string;
  readonly sort: SortKey;
  readonly once?: true;
  readonly json?: true;
}

export function addTopVerb(program: Command): void {
  systemOptions(program.command('top'))
    .description('what vdisks and hops do, live: rates, latencies, queue depths; a line each and look in a pipe')
    .option('--interval <seconds>', 'time between two looks', '2')
    .addOption(
      new Option('--sort <key>', 'by i: IOPS, b: bandwidth, l: p99, d: queue depth, n: name').choices(Object.keys(SORTS)).default('i'),
    )
    .option('--once', 'one look, over one interval')
    .option('--json', 'a JSON object a line and look')
    .action(async (flags: TopFlags) => {
      const seconds = Number(flags.interval);
      if (!(seconds >= LEAST_INTERVAL_S && seconds <= MOST_INTERVAL_S)) {
        const message = `--interval ${flags.interval} is not a number of seconds from ${LEAST_INTERVAL_S} to ${MOST_INTERVAL_S}`;
        throw new GatepathError('invalid', 'ERR_USAGE', message, '');
      }
      const sources = await Sources.of(await connectSystem(flags));
      await sources.look();
      if (process.stdout.isTTY && flags.once === undefined && flags.json === undefined) await live(sources, seconds * 1_000, flags.sort);
      else await lines(sources, seconds * 1_000, flags);
    });
}

const clock = (): string => new Date().toISOString().slice(11, 19);

/** Until whoever reads has gone. */
async function lines(sources: Sources, intervalMs: number, { sort, once, json }: TopFlags): Promise<void> {
  let isRead = true;
  process.stdout.on('error', () => (isRead = false));
  do {
    await sleep(intervalMs);
    const rates = ratesOf(await sources.look());
    if (json) process.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), ...rates })}\n`);
    else process.stdout.write(`${plainLines(rates, sort, clock()).join('\n')}\n`);
  } while (once === undefined && isRead);
}

/** Until somebody presses q. A system that goes away is waited for. */
async function live(sources: Sources, intervalMs: number, firstSort: SortKey): Promise<void> {
  const terminal = new Terminal(process.stdout, process.stdin);
  let [sort, showsHelp, isOver, rates, problem] = [firstSort, false, false, NOTHING, ''];
  let wakeUp = new AbortController();
  const show = (): void =>
    terminal.show(screen(rates, { sort, showsHelp, clock: clock(), problem }, terminal.size.columns, terminal.size.rows));
  const onKey = (key: string): void => {
    if (key === 'q') isOver = true;
    else if (key === '?') showsHelp = !showsHelp;
    else if (key in SORTS) [sort, showsHelp] = [key as SortKey, false];
    else if (key !== ' ') return;
    if (key === 'q' || key === ' ') wakeUp.abort();
    else show();
  };
  terminal.open(onKey, show);
  try {
    show();
    while (!isOver) {
      await sleep(intervalMs, undefined, { signal: wakeUp.signal }).catch(() => (wakeUp = new AbortController()));
      if (isOver) break;
      try {
        rates = ratesOf(await sources.look());
        problem = '';
      } catch (error) {
        problem = (error as Error).message;
      }
      show();
    }
  } finally {
    terminal.close();
  }
}
