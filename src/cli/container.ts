import type { Command } from 'commander';
import { formatSize } from '../base/size.js';
import { printJson, printTable } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

export function addContainerVerbs(program: Command): void {
  const container = program.command('container').description('storage containers: where vdisks live, with their policy');
  systemOptions(container.command('create <name>'))
    .description('make a container')
    .action(async (name: string, options: SystemOptions) => {
      await connectSystem(options).createContainer(name);
      console.log(`container ${name} created`);
    });
  systemOptions(container.command('list'))
    .description('all containers')
    .option('--json', 'as JSON')
    .action(async (options: SystemOptions & { json?: true }) => {
      const containers = await connectSystem(options).listContainers();
      if (options.json) return printJson(containers);
      printTable(
        ['NAME', 'RF', 'DURABILITY', 'VDISKS', 'SIZE', 'ALLOCATED'],
        containers.map(one => [
          one.name,
          one.replicationFactor,
          one.durability,
          one.vdisks,
          formatSize(one.sizeBytes),
          formatSize(one.allocatedBytes),
        ]),
      );
    });
}
