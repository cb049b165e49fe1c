import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { ControlClient } from '../control/client.js';
import type { EventView } from '../control/schemas.js';
import { printJson } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

interface EventsOptions extends SystemOptions {
  readonly json?: true;
  readonly follow?: true;
  readonly vdisk?: string;
}

const WAIT_MS = 20_000;
/** A node that does not answer is asked again after this time. */
const RETRY_MS = 1_000;

export function addEventsVerb(program: Command): void {
  systemOptions(program.command('events'))
    .description('what has happened, when and why: of all nodes whose management API is on this machine')
    .option('--vdisk <name>', 'of this vdisk alone')
    .option('--follow', 'and what happens from now on, until Ctrl-C')
    .option('--json', 'as JSON; with --follow an object per line')
    .action(async (options: EventsOptions) => {
      const system = await connectSystem(options);
      const names = await namesOf(system);
      const vdiskId = options.vdisk === undefined ? null : (await system.showVdisk(options.vdisk)).id;
      const sources = await sourcesOf(system);
      const print = (one: EventView): void => console.log(options.json ? JSON.stringify(one) : lineOf(one, names));
      const pages = await Promise.all(sources.map(source => source.events({ vdiskId }).catch(() => ({ events: [], last: 0 }))));
      const all = pages.flatMap(page => page.events).sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
      if (options.json && !options.follow) return printJson(all);
      for (const one of all) print(one);
      if (options.follow) await Promise.all(sources.map((source, i) => follow(source, pages[i]!.last, vdiskId, print)));
    });
}

/** Until the process is ended. */
async function follow(source: ControlClient, last: number, vdiskId: string | null, print: (one: EventView) => void): Promise<void> {
  for (let after = last; ;) {
    try {
      const page = await source.events({ after, vdiskId, waitMs: WAIT_MS });
      for (const one of page.events) print(one);
      after = page.last;
    } catch {
      await new Promise(resolve => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** Each node keeps its own; those of other machines are asked there. A datapath by itself has its own alone. */
async function sourcesOf(system: ControlClient): Promise<ControlClient[]> {
  const nodes = await system.listNodes().catch(datapathOnly);
  const sockets = nodes.flatMap(({ control }) => (control?.startsWith('unix:') === true ? control.slice('unix:'.length) : []));
  return sockets.length < 2 ? [system] : sockets.map(socketPath => new ControlClient({ socketPath }));
}

async function namesOf(system: ControlClient): Promise<ReadonlyMap<string, string>> {
  const vdisks = await system.listVdisks().catch(datapathOnly);
  return new Map(vdisks.map(({ id, name }) => [id, name]));
}

function datapathOnly(error: unknown): [] {
  if (error instanceof GatepathError && error.code === 'ERR_DATAPATH_ONLY') return [];
  throw error;
}

export function lineOf({ at, source, severity, kind, vdiskId, cause, action }: EventView, names: ReadonlyMap<string, string>): string {
  const vdisk = vdiskId === null ? '-' : (names.get(vdiskId) ?? vdiskId);
  const advice = action === undefined ? '' : ` (${action})`;
  return `${at}  ${source}  ${severity.padEnd(5)}  ${kind}  ${vdisk}  ${cause}${advice}`;
}
