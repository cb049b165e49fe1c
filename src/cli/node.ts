import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { formatSize } from '../base/size.js';
import type { NodeView, RemovalView } from '../control/schemas.js';
import { printFields, printJson, printTable } from './output.js';
import { Progress } from './progress.js';
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
  addRemoveVerb(node);
}

function addRemoveVerb(node: Command): void {
  systemOptions(node.command('remove <name>'))
    .description(
      'takes it out of the cluster for good: others get its copies first. One that lives has to be drained; of one that is dead, its copies count as lost. Interrupted, it goes on when it is called again; "node undrain" calls it off',
    )
    .option('--force', 'also where vdisks are lost by that, or have fewer copies from then on: without it, those are named')
    .option('--wait <seconds>', 'how long to wait while nothing changes', '60')
    .option('--json', 'as JSON')
    .action(async (name: string, { force = false, wait, json, ...options }: Reading & { wait: string; force?: boolean }) => {
      const waitMs = secondsOf(wait) * 1_000;
      const progress = new Progress();
      const system = await connectSystem(options);
      let [view, changedMs] = [await system.removeNode(name, { force }), performance.now()];
      while (!view.isRemoved && performance.now() - changedMs < waitMs) {
        progress.show(`node "${name}": ${inWords(view)}`);
        await new Promise(resolve => setTimeout(resolve, REMOVAL_POLL_MS));
        const next = await system.removeNode(name, { force: false });
        if (inWords(next) !== inWords(view)) changedMs = performance.now();
        view = next;
      }
      progress.clear();
      if (json) printJson(view);
      if (!view.isRemoved) {
        const action = 'it goes on by itself: call it again to see how far it is, and to end it. "gatepath node undrain" calls it off';
        throw new GatepathError('retryable', 'ERR_NEEDED', `node "${name}" is not removed yet: ${inWords(view)}`, action);
      }
      if (json) return;
      console.log(`node "${name}" is removed. It ends by itself where it runs; its data directory starts no more, and may be deleted.`);
      for (const vdisk of view.lost) console.log(`  vdisk ${vdisk} is lost with it: delete it`);
    });
}

function inWords({ waitsFor, waiting }: RemovalView): string {
  const each = waitsFor.slice(0, 3).map(({ vdisk, copies, wanted, resyncing }) => {
    const coming = resyncing === null ? '' : `, ${resyncing.node} is being brought up, ${Math.floor(resyncing.share * 100)} %`;
    return `${vdisk} has ${copies} of ${wanted} copies elsewhere${coming}`;
  });
  return `needed by ${waiting} vdisks: ${each.join('; ')}${waiting > each.length ? '; and others' : ''}`;
}

const DRAIN_POLL_MS = 250;
const REMOVAL_POLL_MS = 250;

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 0) return seconds;
  throw new GatepathError('invalid', 'ERR_USAGE', `--wait "${text}" is no number of seconds`, 'give a number, for example 60');
}

function printNode(one: NodeView): void {
  printFields([
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
  ]);
}

function stateOf({ alive, drainingSince, removingSince }: NodeView): string {
  const duty = removingSince !== null ? ', is being removed' : drainingSince !== null ? ', drained' : '';
  return `${alive ? 'alive' : 'silent'}${duty}`;
}

const size = (bytes: number | null): string => (bytes === null ? '?' : formatSize(bytes));
