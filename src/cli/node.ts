import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { formatSize } from '../base/size.js';
import type { NodeView } from '../control/schemas.js';
import { printJson, printTable } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

type Reading = SystemOptions & { json?: true };

export function addNodeVerbs(program: Command): void {
  const node = program.command('node').description('nodes: where the copies of vdisks are');
  systemOptions(node.command('list'))
    .description('all nodes')
    .option('--json', 'as JSON')
    .action(async (options: Reading) => {
      const nodes = await (await connectSystem(options)).listNodes();
      if (options.json) return printJson(nodes);
      printTable(
        ['NAME', 'STATE', 'FREE', 'OF', 'VDISKS', 'CONTROLS', 'FAULT DOMAIN', 'ADDRESS'],
        nodes.map(one => [
          one.id,
          stateOf(one),
          size(one.freeBytes),
          size(one.totalBytes),
          one.vdisks,
          one.controls,
          one.faultDomain ?? '-',
          one.tcp ?? one.unix,
        ]),
      );
    });
  systemOptions(node.command('show <name>'))
    .description('one node')
    .option('--json', 'as JSON')
    .action(async (name: string, options: Reading) => {
      const one = await (await connectSystem(options)).showNode(name);
      if (options.json) printJson(one);
      else printNode(one);
    });
  systemOptions(node.command('drain <name>'))
    .description('other nodes take over what it controls, and new vdisks are placed elsewhere; waits until it may be stopped')
    .option('--wait <seconds>', 'how long to wait', '60')
    .option('--json', 'as JSON')
    .action(async (name: string, options: Reading & { wait: string }) => {
      const system = await connectSystem(options);
      let one = await system.setDraining(name, true);
      for (const endMs = performance.now() + secondsOf(options.wait) * 1_000; one.neededBy.length > 0 && performance.now() < endMs;) {
        await new Promise(resolve => setTimeout(resolve, DRAIN_POLL_MS));
        one = await system.showNode(name);
      }
      if (options.json) printJson(one);
      if (one.neededBy.length > 0) {
        const message = `node "${name}" is drained, but still needed by ${one.neededBy.join(', ')}`;
        throw new GatepathError(
          'retryable',
          'ERR_NEEDED',
          message,
          'see "gatepath status": their other copies are missing, or not whole yet',
        );
      }
      if (!options.json)
        console.log(`node "${name}" controls nothing, and may be stopped. "gatepath node undrain ${name}" when it is back.`);
    });
  systemOptions(node.command('undrain <name>'))
    .description('a drained node does its full duty again')
    .option('--json', 'as JSON')
    .action(async (name: string, options: Reading) => {
      const one = await (await connectSystem(options)).setDraining(name, false);
      if (options.json) printJson(one);
      else console.log(`node "${name}" does its full duty again.`);
    });
}

const DRAIN_POLL_MS = 250;

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 0) return seconds;
  throw new GatepathError('invalid', 'ERR_USAGE', `--wait "${text}" is no number of seconds`, 'give a number, for example 60');
}

function printNode(one: NodeView): void {
  const lines: [string, string][] = [
    ['name', one.id],
    ['state', stateOf(one)],
    ['needed by', one.neededBy.join(', ') || 'nothing: it may be stopped'],
    ['space', `${size(one.freeBytes)} free of ${size(one.totalBytes)}`],
    ['vdisks', `${one.vdisks}, controls ${one.controls}`],
    ['fault domain', one.faultDomain ?? 'its own'],
    ['socket', one.unix],
    ['tcp', one.tcp ?? '-'],
    ['management', one.control ?? '-'],
    ['store', `${one.storeUuid}, incarnation ${one.incarnation}`],
    ['threads', `${one.shards} shards, ${one.streams} streams`],
  ];
  for (const [title, value] of lines) console.log(`${title.padEnd(13)} ${value}`);
}

const stateOf = ({ alive, drainingSince }: NodeView): string => `${alive ? 'alive' : 'silent'}${drainingSince === null ? '' : ', drained'}`;
const size = (bytes: number | null): string => (bytes === null ? '?' : formatSize(bytes));
