import { Option, type Command } from 'commander';
import { formatSize } from '../base/size.js';
import { printJson, printTable } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

interface CreateOptions extends SystemOptions {
  readonly rf: string;
  readonly minMembers?: string;
  readonly durability: 'always' | 'flush';
}

export function addContainerVerbs(program: Command): void {
  const container = program.command('container').description('storage containers: where vdisks live, with their policy');
  systemOptions(container.command('create <name>'))
    .description('make a container')
    .addOption(new Option('--rf <n>', 'on how many nodes each of its vdisks is kept').choices(['1', '2', '3']).default('1'))
    .addOption(new Option('--min-members <n>', 'with fewer of them, writes wait (default: 1, with --rf 3: 2)').choices(['1', '2', '3']))
    .addOption(
      new Option('--durability <when>', 'when a write is answered: on stable storage, or in memory until a flush (--rf 1 only)')
        .choices(['always', 'flush'])
        .default('always'),
    )
    .action(async (name: string, options: CreateOptions) => {
      const { rf, minMembers, durability } = options;
      await (
        await connectSystem(options)
      ).createContainer({
        name,
        replicationFactor: Number(rf) as 1 | 2 | 3,
        durability,
        ...(minMembers === undefined ? {} : { minMembers: Number(minMembers) }),
      });
      console.log(`container ${name} created`);
    });
  systemOptions(container.command('list'))
    .description('all containers')
    .option('--json', 'as JSON')
    .action(async (options: SystemOptions & { json?: true }) => {
      const containers = await (await connectSystem(options)).listContainers();
      if (options.json) return printJson(containers);
      printTable(
        ['NAME', 'RF', 'MIN MEMBERS', 'DURABILITY', 'VDISKS', 'SIZE', 'ALLOCATED'],
        containers.map(one => [
          one.name,
          one.replicationFactor,
          one.minMembers,
          one.durability,
          one.vdisks,
          formatSize(one.sizeBytes),
          formatSize(one.allocatedBytes),
        ]),
      );
    });
}
