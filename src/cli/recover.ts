import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import type { CopyView, RecoveryView } from '../control/schemas.js';
import { printJson, printTable } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

type Options = SystemOptions & { from?: string; acceptDataLoss?: boolean; json?: boolean };

export function addRecoverVerb(vdisk: Command): void {
  systemOptions(vdisk.command('recover <name>'))
    .description(
      'the last resort for a vdisk of which no member returns: it goes on from one copy, and what only others had is lost for good. Says what is known, and does nothing without --accept-data-loss',
    )
    .option('--from <node>', 'the node whose copy it goes on from (default: the one that ends last)')
    .option('--accept-data-loss', 'do it')
    .option('--json', 'what is known, and what was done, as JSON')
    .action(async (name: string, { from, acceptDataLoss = false, json = false, ...system }: Options) => {
      const client = await connectSystem(system);
      const known = await client.showRecovery(name);
      if (!json) printKnown(known, from ?? known.best);
      // Also without consent: the node says why not.
      const done = await client.recoverVdisk(name, { acceptDataLoss, ...(from === undefined ? {} : { from }) });
      if (json) printJson({ known, done });
      else {
        console.log(`vdisk ${name} goes on from the copy on ${done.from}, in history ${done.historyId}`);
        console.log('  what was attached is over: its requests end with ESHUTDOWN. Stop its guest, detach it, and attach it anew');
        console.log(
          '  a former member that returns gives up its copy and gets this one: if its data may be wanted, keep it away and copy its directory',
        );
      }
      if (done.isServed) return;
      const message = `vdisk ${name} is not served yet: node ${done.from} brings its log into the extents first`;
      throw new GatepathError('retryable', 'ERR_NOT_SERVED', message, 'gatepath events tells how it goes on');
    });
}

function printKnown(known: RecoveryView, from: string | null): void {
  const { vdisk, historyId, term, members, missing, copies, silent } = known;
  console.log(`vdisk ${vdisk}: history ${historyId}, term ${term}; members: ${members.join(', ') || 'none'}`);
  for (const { node, since } of missing)
    console.log(`  ${node} is missing: ${since === null ? 'a member, and does not answer' : `no member since ${since}`}`);
  for (const node of silent) console.log(`  ${node} lives and cannot be asked from here`);
  printTable(
    ['COPY ON', 'ENDS AT', 'OF TERM', 'STATE'],
    copies.map(one => [one.node, one.copy?.lastSeq ?? '-', one.copy?.lastTerm ?? '-', stateOf(one, historyId)]),
  );
  const chosen = copies.find(({ node }) => node === from)?.copy;
  if (chosen == null) return;
  const isOlder = chosen.lastTerm < term ? `, of term ${chosen.lastTerm}, while the vdisk has been in term ${term}` : '';
  console.log(
    `the copy on ${from} ends at entry ${chosen.lastSeq}${isOlder}: everything that was acknowledged behind that is lost with the missing nodes`,
  );
}

function stateOf({ copy, problem }: CopyView, historyId: number): string {
  if (problem !== null) return problem;
  if (copy === null) return 'none';
  if (copy.isServing) return 'serves it';
  if (copy.historyId !== historyId) return `of history ${copy.historyId}`;
  if (!copy.isWhole) return 'not whole: it was being brought up';
  return copy.isTorn ? 'whole; its end may be missing' : 'whole';
}
