import { Option, type Command } from 'commander';
import type { ContainerView } from '../control/client.js';
import { GatepathError } from '../base/errors.js';
import { formatSize, parseSize } from '../base/size.js';
import { printFields, printJson, printTable, usedText } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

interface CreateOptions extends SystemOptions {
  readonly rf: string;
  readonly minMembers?: string;
  readonly durability: 'always' | 'flush';
  readonly enospc: 'wait' | 'error';
  readonly quota?: string;
}

interface SetOptions extends SystemOptions {
  readonly enospc?: 'wait' | 'error';
  readonly quota?: string;
}

type Reading = SystemOptions & { readonly json?: true };

const ENOSPC_HELP = 'what a write hears for which there is no space: nothing, until there is some; or an error, ENOSPC';
const QUOTA_HELP =
  'most that its vdisks may use together: bytes of data that can be read (what is thin, trimmed or zeroed takes none), each counted once, however many copies are kept';

export function addContainerVerbs(program: Command): void {
  const container = program.command('container').description('storage containers: where vdisks live, with their policy');
  systemOptions(container.command('create <name>'))
    .description('make a container')
    .addOption(new Option('--rf <n>', 'on how many nodes each of its vdisks is kept').choices(['1', '2', '3']).default('1'))
    .addOption(new Option('--min-members <n>', 'with fewer of them, writes wait (default: 1, with --rf 3: 2)').choices(['1', '2', '3']))
    .addOption(
      new Option('--durability <when>', 'when a write is answered: on stable storage, or in memory of its nodes until a flush')
        .choices(['always', 'flush'])
        .default('always'),
    )
    .addOption(new Option('--enospc <policy>', ENOSPC_HELP).choices(['wait', 'error']).default('wait'))
    .option('--quota <size>', `${QUOTA_HELP} (default: none)`)
    .action(async (name: string, options: CreateOptions) => {
      const { rf, minMembers, durability, enospc, quota } = options;
      await (
        await connectSystem(options)
      ).createContainer({
        name,
        replicationFactor: Number(rf) as 1 | 2 | 3,
        durability,
        enospc,
        ...(quota === undefined ? {} : { quotaBytes: quotaOf(quota) }),
        ...(minMembers === undefined ? {} : { minMembers: Number(minMembers) }),
      });
      console.log(`container ${name} created`);
    });
  systemOptions(container.command('set <name>'))
    .description('change the policy of a container; its vdisks follow at once')
    .addOption(new Option('--enospc <policy>', ENOSPC_HELP).choices(['wait', 'error']))
    .option('--quota <size>', `${QUOTA_HELP}; "none": no quota`)
    .action(async (name: string, options: SetOptions) => {
      const { enospc, quota } = options;
      if (enospc === undefined && quota === undefined) {
        throw new GatepathError('invalid', 'ERR_USAGE', 'nothing is to be changed', 'give --enospc, --quota, or both');
      }
      const client = await connectSystem(options);
      const one = await client.setContainer(name, {
        ...(enospc === undefined ? {} : { enospc }),
        ...(quota === undefined ? {} : { quotaBytes: quota === 'none' ? null : quotaOf(quota) }),
      });
      console.log(`container ${name}: enospc ${one.enospc}, quota ${quotaText(one)}`);
    });
  systemOptions(container.command('show <name>'))
    .description('one container')
    .option('--json', 'as JSON')
    .action(async (name: string, options: Reading) => {
      const one = await (await connectSystem(options)).showContainer(name);
      if (options.json) printJson(one);
      else printContainer(one);
    });
  systemOptions(container.command('list'))
    .description('all containers')
    .option('--json', 'as JSON')
    .action(async (options: Reading) => {
      const containers = await (await connectSystem(options)).listContainers();
      if (options.json) return printJson(containers);
      printTable(
        ['NAME', 'RF', 'MIN MEMBERS', 'DURABILITY', 'ENOSPC', 'VDISKS', 'SIZE', 'USED', 'QUOTA'],
        containers.map(one => [
          one.name,
          one.replicationFactor,
          one.minMembers,
          one.durability,
          one.enospc,
          one.vdisks,
          formatSize(one.sizeBytes),
          formatSize(one.allocatedBytes + one.logBytes),
          quotaText(one),
        ]),
      );
    });
}

function quotaOf(size: string): number {
  const bytes = parseSize(size);
  if (bytes > 0) return bytes;
  throw new GatepathError('invalid', 'ERR_USAGE', 'a quota is more than nothing', 'give a size like 500G, or "none" to container set');
}

const quotaText = ({ quotaBytes }: ContainerView): string => (quotaBytes === null ? 'none' : formatSize(quotaBytes));

function printContainer(one: ContainerView): void {
  const { allocatedBytes, logBytes } = one;
  printFields([
    ['name', one.name],
    ['copies', `${one.replicationFactor}; with fewer than ${one.minMembers}, writes wait`],
    ['durability', one.durability],
    ['enospc', one.enospc],
    ['quota', quotaText(one)],
    ['used', `${formatSize(allocatedBytes + logBytes)}: ${usedText(allocatedBytes, logBytes, one.physicalBytes)}`],
    ['vdisks', `${one.vdisks}, ${formatSize(one.sizeBytes)}`],
    ['created', one.createdAt],
  ]);
}
