import { Option, type Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { formatSize, parseSize } from '../base/size.js';
import { DEFAULT_DATA } from '../cli/system.js';
import { MAX_SHARDS } from '../shard/limits.js';
import type { EngineChoice } from '../shard/run.js';
import type { MetricsAddress } from './config/metrics.js';
import type { LogFormat } from './logger.js';
import {
  DEFAULT_CACHE_BYTES,
  DEFAULT_OPLOG_BYTES,
  DEFAULT_SCRUB_BYTES_PER_SECOND,
  DEFAULT_SHARDS,
  LEAST_CACHE_BYTES,
  LEAST_OPLOG_BYTES,
  LEAST_SCRUB_BYTES_PER_SECOND,
  MOST_NODES,
} from './limits.js';
import type { UpOptions } from './up/up.js';
import { endOnBadConfiguration } from './service/exit-status.js';

interface UpFlags {
  readonly data: string;
  readonly nodes?: string;
  readonly rf?: string;
  readonly restart?: true;
  readonly tcp?: true;
  readonly namespaces?: true;
  readonly vdisk: readonly { readonly name: string; readonly sizeBytes: number }[];
  readonly shards: string;
  readonly cache: string;
  readonly oplog: string;
  readonly scrub: string;
  readonly engine: EngineChoice;
  readonly metrics?: string;
  readonly logLevel: string;
  readonly logFormat?: LogFormat;
}

interface ProcessFlags {
  readonly config: string;
  readonly logFormat?: LogFormat;
}

/** Verbs that are processes. What they need is loaded when one is run: client verbs start faster without. */
export function addProcessVerbs(program: Command): void {
  program
    .command('up')
    .description('run everything on this machine: storage, NBD endpoint, management')
    .option('--data <dir>', 'where the data lives', DEFAULT_DATA)
    .option('--nodes <n>', 'a cluster of so many nodes, each a process of its own, with etcd (default: one node, in this process)')
    .addOption(
      new Option('--rf <n>', 'with --nodes: on how many of them each vdisk is kept (default: all, at most 3)').choices(['1', '2', '3']),
    )
    .option('--restart', 'with --nodes: start what ends by itself again')
    .option('--tcp', 'with --nodes: they talk over TCP, under TLS with certificates of their own authority, as on several machines')
    .option('--namespaces', 'with --nodes, by root: as --tcp, each node and the datapath in a network namespace of its own')
    .option('--vdisk <name:size>', 'a vdisk to attach, made where it is missing; may be given again', collectVdisk, [])
    .option('--shards <n>', 'threads that serve I/O', String(DEFAULT_SHARDS))
    .option('--cache <size>', 'memory for cached blocks', `${DEFAULT_CACHE_BYTES >> 20}M`)
    .option('--oplog <size>', 'most space that the log takes', `${DEFAULT_OPLOG_BYTES / 2 ** 30}G`)
    .option('--scrub <rate>', 'how fast all data is read and checked, bytes a second, or off', `${DEFAULT_SCRUB_BYTES_PER_SECOND >> 20}M`)
    .addOption(new Option('--engine <engine>', 'I/O engine').choices(['auto', 'io_uring', 'libuv']).default('auto'))
    .option('--metrics <address>', 'where Prometheus asks for /metrics: a port of the loopback interface, or a loopback ADDRESS:PORT')
    .addOption(new Option('--log-level <level>', 'what is logged').choices(['debug', 'info', 'warn', 'error']).default('warn'))
    .addOption(logFormat())
    .action(async (flags: UpFlags) => {
      const options = {
        data: flags.data,
        vdisks: flags.vdisk,
        shards: wholeNumber('--shards', flags.shards, 2, MAX_SHARDS),
        cacheBytes: sizeOf('--cache', flags.cache, LEAST_CACHE_BYTES),
        oplogBytes: sizeOf('--oplog', flags.oplog, LEAST_OPLOG_BYTES),
        scrubBytesPerSecond: flags.scrub === 'off' ? 0 : sizeOf('--scrub', flags.scrub, LEAST_SCRUB_BYTES_PER_SECOND),
        engine: flags.engine,
        metrics: flags.metrics === undefined ? null : await metricsOf(flags.metrics),
        logLevel: flags.logLevel,
        logFormat: flags.logFormat,
      };
      if (flags.nodes !== undefined) return runNodes(flags, flags.nodes, options);
      if ([flags.rf, flags.restart, flags.tcp, flags.namespaces].some(flag => flag !== undefined)) {
        throw usage('--rf, --restart, --tcp and --namespaces are for a cluster', 'add --nodes N');
      }
      const { runUp } = await import('./up/up.js');
      await runUp(options);
    });
  program
    .command('stargate')
    .description('run the storage service of a node')
    .requiredOption('--config <file>', 'its configuration; "gatepath config example stargate" prints one')
    .addOption(logFormat())
    .action((flags: ProcessFlags) =>
      endOnBadConfiguration(async () => (await import('./stargated.js')).runStargate(flags.config, flags.logFormat)),
    );
  program
    .command('datapath')
    .description('run the NBD endpoint of a host')
    .requiredOption('--config <file>', 'its configuration; "gatepath config example datapath" prints one')
    .option('--replace', 'take over from the datapath that runs here, with the connections of its guests; it ends then')
    .addOption(logFormat())
    .action((flags: ProcessFlags & { replace?: true }) =>
      endOnBadConfiguration(async () =>
        (await import('./datapathd.js')).runDatapath(flags.config, flags.logFormat, flags.replace === true),
      ),
    );
  addConfigVerb(program);
}

async function runNodes({ rf, restart, tcp, namespaces }: UpFlags, nodesText: string, options: UpOptions): Promise<void> {
  const nodes = wholeNumber('--nodes', nodesText, 1, MOST_NODES);
  if (nodes === 1) throw usage('--nodes 1 is no cluster', 'leave --nodes out for one node, or give at least 2');
  if (rf !== undefined && Number(rf) > nodes) throw usage(`--rf ${rf} needs ${rf} nodes, not ${nodes}`, `give --nodes ${rf} or more`);
  const { runUpNodes } = await import('./up/nodes/up-nodes.js');
  const network = namespaces === true ? 'namespaces' : tcp === true ? 'tcp' : null;
  await runUpNodes({ ...options, nodes, network, replicationFactor: rf === undefined ? null : Number(rf), restart: restart === true });
}

/** No certificates are given to `up`: whoever reaches the address may ask. */
async function metricsOf(text: string): Promise<MetricsAddress> {
  const { metricsAddress, metricsProblem } = await import('./config/metrics.js');
  const parsed = metricsAddress.safeParse(text);
  if (!parsed.success) throw usage(`--metrics ${text}: ${parsed.error.issues[0]!.message}`, 'like --metrics 9441');
  const problem = metricsProblem({ metrics: parsed.data }, false);
  if (problem !== null)
    throw usage(`--metrics ${text}: other machines reach that`, 'give a port alone; "gatepath stargate" serves metrics in TLS');
  return parsed.data;
}

function addConfigVerb(program: Command): void {
  const examples = {
    stargate: async () => (await import('./config/stargate.js')).STARGATE_EXAMPLE,
    datapath: async () => (await import('./config/datapath.js')).DATAPATH_EXAMPLE,
  };
  const config = program.command('config').description('configuration files');
  config
    .command('check')
    .description(
      'whether a configuration of "gatepath stargate" or "gatepath datapath" is valid, and the certificates that it names can be used',
    )
    .argument('<file>')
    .action(async (file: string) => {
      const { checkConfig } = await import('./config/check.js');
      console.log(`${file} is a valid configuration of "gatepath ${checkConfig(file)}"`);
    });
  const example = config.command('example').description('print a configuration with comments');
  for (const [name, text] of Object.entries(examples)) {
    example
      .command(name)
      .description(`of "gatepath ${name}"`)
      .action(async () => void process.stdout.write(await text()));
  }
}

const logFormat = (): Option => new Option('--log-format <format>', 'default: pretty on a terminal, else json').choices(['json', 'pretty']);

/** `NAME:SIZE`. */
function collectVdisk(text: string, before: UpFlags['vdisk']): UpFlags['vdisk'] {
  const [, name, size] = /^([^:]+):(.+)$/.exec(text) ?? [];
  if (name === undefined || size === undefined) throw usage(`--vdisk ${text}: that is not NAME:SIZE`, 'like --vdisk demo:10G');
  return [...before, { name, sizeBytes: parseSize(size) }];
}

function sizeOf(flag: string, text: string, leastBytes: number): number {
  const bytes = parseSize(text);
  if (bytes < leastBytes) throw usage(`${flag} ${text} is too little`, `give at least ${formatSize(leastBytes)}`);
  return bytes;
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= least && number <= most) return number;
  throw usage(`${flag} ${text} is not a number from ${least} to ${most}`, '');
}

const usage = (message: string, action: string): GatepathError => new GatepathError('invalid', 'ERR_USAGE', message, action);
