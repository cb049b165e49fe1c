import type { Command } from 'commander';
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
}

function printNode(one: NodeView): void {
  const lines: [string, string][] = [
    ['name', one.id],
    ['state', stateOf(one)],
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

const stateOf = ({ alive }: NodeView): string => (alive ? 'alive' : 'silent');
const size = (bytes: number | null): string => (bytes === null ? '?' : formatSize(bytes));
