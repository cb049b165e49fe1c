import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { GatepathError } from '../../base/errors.js';
import { systemOptions, type SystemOptions } from '../../cli/system.js';
import type { CertificateWish, Role } from './authority.js';

interface JoinFlags extends Partial<Record<Role, string>> {
  readonly host: readonly string[];
}

/** `gatepath cluster …`: what is done to the files and the metadata of a cluster, and to all its nodes. */
export function addClusterVerbs(program: Command): void {
  const cluster = program.command('cluster').description('clusters: several nodes with their metadata in etcd');
  cluster
    .command('init <dir>')
    .description("make a cluster's certificate authority and its id, in a new directory that its administrator keeps")
    .action(async (dir: string) => {
      const { createAuthority } = await import('./authority.js');
      const id = createAuthority(resolve(dir));
      console.log(`The cluster is ${id}: "cluster: ${id}" in the configuration of each node.`);
      console.log(`Its authority is in ${resolve(dir)}; who has ca.key of there is trusted by all nodes: keep it off them.`);
      console.log(`Next, for each node: gatepath cluster join ${dir} --node NAME --host ADDRESS`);
    });
  cluster
    .command('join <dir>')
    .description('a certificate for one more member of the cluster, by its authority in DIR')
    .option('--node <name>', 'of a node')
    .option('--datapath <name>', 'of the datapath of a host')
    .option('--client <name>', 'of somebody who manages it')
    .option('--host <address>', 'a name or address under which a node is reached; may be given again', collect, [])
    .action(async (dir: string, flags: JoinFlags) => {
      const { issue } = await import('./authority.js');
      const wish = wishOf(flags);
      const { cert, key } = issue(resolve(dir), wish);
      console.log(`The certificate of the ${wish.role} "${wish.name}": ${cert}`);
      console.log(`Its key: ${key}`);
      console.log(`Copy both there, with ${join(resolve(dir), 'ca.crt')}; the key for nobody else to read.`);
    });
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
  systemOptions(cluster.command('rolling-upgrade'))
    .description(
      'the storage of all nodes, one after the other: drained, restarted with this version, whole again. Stops at the first problem, and goes on from there when it is called again',
    )
    .option(
      '--restart-command <command>',
      "how a node is restarted, {node} being its name; default: by cluster.json's commands, for gatepath up",
    )
    .option('--all', 'also nodes that run this version already')
    .action(async ({ restartCommand, all = false, ...system }: SystemOptions & { restartCommand?: string; all?: boolean }) => {
      const { rollingUpgrade } = await import('./rolling-upgrade-verb.js');
      await rollingUpgrade(system, restartCommand ?? null, all);
    });
}

const collect = (text: string, before: readonly string[]): readonly string[] => [...before, text];

function wishOf({ host: hosts, ...flags }: JoinFlags): CertificateWish {
  const given = (['node', 'datapath', 'client'] as const).flatMap(role => (flags[role] === undefined ? [] : [{ role, name: flags[role] }]));
  const [one] = given;
  if (one === undefined || given.length > 1) throw usage('a certificate is for one member', 'give one of --node, --datapath, --client');
  if (one.role === 'node' && hosts.length === 0) throw usage('a node is known by its address', 'give --host ADDRESS');
  return { ...one, hosts };
}

const usage = (message: string, action: string): GatepathError => new GatepathError('invalid', 'ERR_USAGE', message, action);
