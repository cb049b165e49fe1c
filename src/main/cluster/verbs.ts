import type { Command } from 'commander';

/** `gatepath cluster …`: what is done to the files and the metadata of a cluster, with no node running. */
export function addClusterVerbs(program: Command): void {
  const cluster = program.command('cluster').description('clusters: several nodes with their metadata in etcd');
  cluster
    .command('upgrade-from-single')
    .description(
      'make a single node the first one of a cluster: its metadata goes into etcd, its data stays; the node is stopped meanwhile',
    )
    .requiredOption('--config <file>', 'the configuration with which it is to run, with "etcd"')
    .action(async ({ config }: { config: string }) => {
      const { upgradeFromSingle } = await import('./upgrade.js');
      const { vdisks, containers, clusterId, kept } = await upgradeFromSingle(config, line => console.error(line));
      console.log(`${vdisks} vdisks and ${containers} containers are in the cluster ${clusterId} now.`);
      console.log(`Start the node: gatepath stargate --config ${config}`);
      console.log(`Its old metadata is in ${kept}; it is not used any more.`);
    });
}
