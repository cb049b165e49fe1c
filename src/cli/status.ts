import type { Command } from 'commander';
import { formatSize } from '../base/size.js';
import type { ShardView, StatusView } from '../control/schemas.js';
import { printJson, printTable } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

export function addStatusVerb(program: Command): void {
  systemOptions(program.command('status'))
    .description('how the system is')
    .option('--json', 'as JSON')
    .action(async (options: SystemOptions & { json?: true }) => {
      const status = await connectSystem(options).status();
      if (options.json) printJson(status);
      else printStatus(status);
    });
}

function printStatus(status: StatusView): void {
  const { node, vdisks, space } = status;
  console.log(`health    ${status.health}`);
  for (const problem of status.problems) console.log(`          ${problem}`);
  console.log(`node      ${node.id}, pid ${node.pid}, since ${node.startedAt}, gatepath ${status.version}`);
  console.log(`data      ${node.dataDir}: ${formatSize(space.freeBytes)} free of ${formatSize(space.totalBytes)}`);
  console.log(
    `vdisks    ${vdisks.count}, ${vdisks.attached} attached, ${formatSize(vdisks.sizeBytes)}, ${formatSize(vdisks.allocatedBytes)} allocated`,
  );
  for (const host of status.hosts) console.log(`host      ${host.name}: NBD at ${host.nbdSocket}`);
  const oplog = status.shards.flatMap(shard => shard.oplog);
  const used = oplog.reduce((sum, one) => sum + one.usedBytes, 0);
  const capacity = oplog.reduce((sum, one) => sum + one.capacityBytes, 0);
  console.log(`oplog     ${formatSize(used)} of ${formatSize(capacity)} in use`);
  console.log(`cache     ${status.shards.map(cacheLine).join('; ')}\n`);
  printTable(['HOP', 'SHARD', 'REQUESTS', 'BYTES', 'P50 µs', 'P99 µs', 'MAX µs'], status.shards.flatMap(hopRows));
}

function cacheLine({ shard, cache }: ShardView): string {
  const asked = cache.hits + cache.misses;
  const hitRate = asked === 0 ? 'not asked yet' : `${((100 * cache.hits) / asked).toFixed(1)} % hits`;
  return `shard ${shard}: ${Math.round((100 * cache.usedPages) / Math.max(1, cache.pages))} % full, ${hitRate}`;
}

function hopRows({ shard, hops }: ShardView): (string | number)[][] {
  return Object.entries(hops).map(([hop, { requests, bytes, service }]) => [
    hop,
    shard,
    requests,
    formatSize(bytes),
    ...[service.p50Ns, service.p99Ns, service.maxNs].map(ns => (service.count === 0 ? '-' : (ns / 1_000).toFixed(1))),
  ]);
}
