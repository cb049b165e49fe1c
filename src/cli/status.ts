import type { Command } from 'commander';
import { formatSize } from '../base/size.js';
import type { DatapathView, NodeView, ShardView, StatusView, StorePagesView } from '../control/schemas.js';
import { printJson, printTable } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

export function addStatusVerb(program: Command): void {
  systemOptions(program.command('status'))
    .description('how the system is; with the directory of a datapath, how that datapath is')
    .option('--json', 'as JSON')
    .action(async (options: SystemOptions & { json?: true }) => {
      const status = await (await connectSystem(options)).status();
      if (options.json) printJson(status);
      else printStatus(status);
    });
}

function printStatus(status: StatusView): void {
  const { datapath, shards } = status;
  console.log(`health    ${status.health}`);
  for (const problem of status.problems) console.log(`          ${problem}`);
  printStorage(status);
  if (datapath !== null) printDatapath(datapath, status.version);
  console.log();
  if (datapath !== null && datapath.sessions.length > 0) {
    printSessions(datapath);
    console.log();
  }
  const hops = [...(datapath?.shards ?? []), ...shards];
  printTable(['HOP', 'SHARD', 'REQUESTS', 'BYTES', 'P50 µs', 'P99 µs', 'MAX µs'], hops.flatMap(hopRows));
}

function printStorage({ node, nodes, vdisks, space, hosts, shards, storePages, version }: StatusView): void {
  if (node === null || space === null) return;
  console.log(`node      ${node.id}, pid ${node.pid}, since ${node.startedAt}, gatepath ${version}`);
  const { freeBytes, totalBytes, usedBytes, returning } = space;
  console.log(`data      ${node.dataDir}: ${formatSize(freeBytes)} free of ${formatSize(totalBytes)}, vdisks use ${formatSize(usedBytes)}`);
  if (returning.layers > 0) console.log(`deleting  ${formatSize(returning.bytes)} still to be given back, of ${returning.layers} copies`);
  if (vdisks !== null) {
    const { count, attached, sizeBytes, allocatedBytes, logBytes, physicalBytes, deleting } = vdisks;
    const used = `${formatSize(allocatedBytes + logBytes)} used, ${formatSize(physicalBytes)} with all copies`;
    const gone = deleting === 0 ? '' : `; ${deleting} deleted, whose space is on its way back`;
    console.log(`vdisks    ${count}, ${attached} attached, ${formatSize(sizeBytes)}, ${used}${gone}`);
  }
  if (nodes.length > 1) console.log(`nodes     ${nodes.map(nodeText).join(', ')}`);
  for (const host of hosts) console.log(`host      ${host.name}: NBD at ${host.nbdSocket}`);
  const oplog = shards.flatMap(shard => shard.oplog);
  const used = oplog.reduce((sum, one) => sum + one.usedBytes, 0);
  const capacity = oplog.reduce((sum, one) => sum + one.capacityBytes, 0);
  console.log(`oplog     ${formatSize(used)} of ${formatSize(capacity)} in use`);
  console.log(`cache     ${shards.map(cacheLine).join('; ')}`);
  printScrub(shards);
  if (storePages !== null) printStorePages(storePages);
}

function printScrub(shards: readonly ShardView[]): void {
  const passes = shards.flatMap(({ scrub }) => (scrub === null ? [] : [scrub]));
  const done = passes.reduce((all, one) => all + one.doneBytes, 0);
  const total = passes.reduce((all, one) => all + one.totalBytes, 0);
  const rate = passes.reduce((all, one) => all + one.bytesPerSecond, 0);
  const times = Math.min(...passes.map(one => one.passes));
  if (passes.length === 0) console.log('scrub     off');
  else console.log(`scrub     ${formatSize(done)} of ${formatSize(total)} read, at ${formatSize(rate)} a second; passes before: ${times}`);
  const rot = (field: keyof ShardView['rot']): number => shards.reduce((all, one) => all + one.rot[field], 0);
  if (rot('damagedBlocks') + rot('refilledRecords') + rot('lostBlocks') === 0) return;
  const records = rot('refilledRecords') === 0 ? '' : `, ${rot('refilledRecords')} records of 64 blocks`;
  console.log(`damage    ${rot('repairedBlocks')} blocks${records} repaired from other nodes; found nowhere whole: ${rot('lostBlocks')}`);
}

function printStorePages({ passes, doneBytes, totalBytes, damaged }: StorePagesView): void {
  const found = damaged === 0 ? '' : `; DAMAGED: ${damaged}`;
  console.log(`store     ${formatSize(doneBytes)} of ${formatSize(totalBytes)} of its pages read; passes before: ${passes}${found}`);
}

const nodeText = ({ id, alive, controls }: NodeView): string => `${id} ${alive ? `alive, controls ${controls}` : 'SILENT'}`;

function printDatapath({ host, pid, startedAt, nbdSocket, exports }: DatapathView, version: string): void {
  console.log(`datapath  ${host}, pid ${pid}, since ${startedAt}, gatepath ${version}: NBD at ${nbdSocket}`);
  for (const one of exports) console.log(`export    ${one.name}: ${formatSize(one.sizeBytes)}, generation ${one.generation}, ${one.state}`);
}

function printSessions({ sessions }: DatapathView): void {
  printTable(
    ['EXPORT', 'SHARD', 'SESSION', 'NODE', 'PATH', 'CONNECTIONS', 'UNANSWERED', 'LOST', 'REPLAYED', 'GAP ms'],
    sessions.map(({ name, shard, state, opened, problem, node, path, connections, unanswered, lost, replayed, lastGapMs }) => [
      name,
      shard,
      // It is opened by the first connection.
      state === 'disconnected' && opened === 0 && problem === '' ? 'unused' : state,
      node ?? '-',
      path ?? '-',
      connections,
      unanswered,
      lost,
      replayed,
      lastGapMs,
    ]),
  );
}

function cacheLine({ shard, cache }: ShardView): string {
  const asked = cache.hits + cache.misses;
  const hitRate = asked === 0 ? 'not asked yet' : `${((100 * cache.hits) / asked).toFixed(1)} % hits`;
  return `shard ${shard}: ${Math.round((100 * cache.usedPages) / Math.max(1, cache.pages))} % full, ${hitRate}`;
}

function hopRows({ shard, hops }: Pick<ShardView, 'shard' | 'hops'>): (string | number)[][] {
  return Object.entries(hops).map(([hop, { requests, bytes, service }]) => [
    hop,
    shard,
    requests,
    formatSize(bytes),
    ...[service.p50Ns, service.p99Ns, service.maxNs].map(ns => (service.count === 0 ? '-' : (ns / 1_000).toFixed(1))),
  ]);
}
