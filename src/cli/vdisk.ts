import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { formatSize, parseSize } from '../base/size.js';
import type { VdiskView } from '../control/schemas.js';
import { continueMigration } from './migration.js';
import { printFields, printJson, printTable, usedText } from './output.js';
import { addMapVerb } from './map.js';
import { addRecoverVerb } from './recover.js';
import { addReleaseVerb } from './release.js';
import { addResizeVerb } from './resize.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';
import { addTransferVerbs } from './transfer/verbs.js';

type Reading = SystemOptions & { json?: true };

export function addVdiskVerbs(program: Command): void {
  const vdisk = program.command('vdisk').description('virtual disks');
  systemOptions(vdisk.command('create <name> [size]'))
    .description('make a thin vdisk; SIZE like 20G (K, M, G, T, P: powers of 1024)')
    .option('--size <size>', 'the size, where it is not the second argument')
    .option('--container <container>', 'the container it lives in (default: default)')
    .action(async (name: string, size: string | undefined, options: SystemOptions & { size?: string; container?: string }) => {
      const sizeBytes = parseSize(sizeOf(size, options.size));
      const { container } = options;
      const made = await (await connectSystem(options)).createVdisk({ name, sizeBytes, ...(container === undefined ? {} : { container }) });
      console.log(`vdisk ${name} created, ${formatSize(made.sizeBytes)}`);
    });
  systemOptions(vdisk.command('list'))
    .description('all vdisks')
    .option('--json', 'as JSON')
    .action(async (options: Reading) => {
      const { vdisks, unread } = await (await connectSystem(options)).listing();
      if (options.json) return printJson([...vdisks, ...unread]);
      printTable(
        ['NAME', 'SIZE', 'USED', 'CONTAINER', 'HEALTH', 'ATTACHED'],
        vdisks.map(one => [
          one.name,
          formatSize(one.sizeBytes),
          one.allocatedBytes === null ? '?' : formatSize(one.allocatedBytes + (one.logBytes ?? 0)),
          one.container,
          one.health,
          attachedText(one),
        ]),
      );
      for (const { id, name, health, problem } of unread) console.log(`${name === null ? '' : `${name}, `}id ${id}: ${health}: ${problem}`);
    });
  systemOptions(vdisk.command('show <name>'))
    .description('one vdisk')
    .option('--json', 'as JSON')
    .action(async (name: string, options: Reading) => {
      const one = await (await connectSystem(options)).showVdisk(name);
      if (options.json) printJson(one);
      else printVdisk(one);
    });
  systemOptions(vdisk.command('activate <name>'))
    .description('let the host at which it is attached as shared hold it: the one that held it writes no more')
    .option('--host <host>', 'the host (default: where it is attached as shared)')
    .option(
      '--qmp <socket>',
      'of the QEMU that the guest leaves: waits until the migration is before its switch-over, and lets it go on behind that',
    )
    .action(async (name: string, options: SystemOptions & { host?: string; qmp?: string }) => {
      const { host, qmp } = options;
      const client = await connectSystem(options);
      const activate = async (): Promise<void> => {
        const attachment = await client.activate(name, host === undefined ? {} : { host });
        console.log(`vdisk ${name} is held by ${attachment.host}`);
      };
      if (qmp === undefined) await activate();
      else await continueMigration(qmp, activate);
    });
  addResizeVerb(vdisk);
  addMapVerb(vdisk);
  addRecoverVerb(vdisk);
  addReleaseVerb(vdisk);
  addTransferVerbs(vdisk);
  systemOptions(vdisk.command('delete <name>'))
    .description('delete a vdisk and its data; refused while it is attached')
    .action(async (name: string, options: SystemOptions) => {
      await (await connectSystem(options)).deleteVdisk(name);
      console.log(`vdisk ${name} deleted`);
    });
}

function sizeOf(argument: string | undefined, option: string | undefined): string {
  const size = argument ?? option;
  if (size === undefined || (argument !== undefined && option !== undefined)) {
    throw new GatepathError('invalid', 'ERR_USAGE', 'a vdisk needs one size', 'gatepath vdisk create NAME SIZE, with a SIZE like 20G');
  }
  return size;
}

const MODE_TEXT = { holder: '', shared: ' (shared)', over: ' (over: held elsewhere now)' } as const;

function attachedText({ attachments, lease }: VdiskView): string {
  if (lease !== null) return lease.purpose === 'import' ? `importing ${lease.vdiskName}` : 'exporting';
  const texts = attachments.map(({ host, mode, exported }) => `${host}${exported ? MODE_TEXT[mode] : ' (not exported there yet)'}`);
  return texts.join(', ') || '-';
}

function printVdisk(one: VdiskView): void {
  const { allocatedBytes, logBytes, physicalBytes } = one;
  const used =
    allocatedBytes === null
      ? '?'
      : `${formatSize(allocatedBytes + (logBytes ?? 0))}: ${usedText(allocatedBytes, logBytes ?? 0, physicalBytes ?? 0)}`;
  const lines: [string, string][] = [
    ['name', one.name],
    ['id', one.id],
    ['size', `${formatSize(one.sizeBytes)} (${one.sizeBytes} bytes)`],
    ['used', used],
    ['container', one.container],
    ['health', one.problem === null ? one.health : `${one.health}: ${one.problem}`],
    ['controller', `${one.controller ?? '-'} (epoch ${one.epoch}, term ${one.term})`],
    ['members', one.members.join(', ')],
    ['attached', one.attachment === null && one.lease === null ? 'nowhere' : attachedText(one)],
    ['sessions', String(one.sessions)],
    ['created', one.createdAt],
  ];
  printFields(lines);
}
