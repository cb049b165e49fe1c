import { Option, type Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { BESIDE_LOADS } from './beside.js';
import { CONNECTIONS, QUEUE_DEPTH } from './limits.js';

interface DrillFlags {
  readonly data?: string;
  readonly nodes: string;
  readonly container?: string;
  readonly rounds: string;
  readonly minutes: string;
  readonly seconds: string;
  readonly connections: string;
  readonly readers: string;
  readonly queueDepth: string;
  readonly load: string;
  readonly seed?: string;
  readonly report?: string;
  readonly strict?: true;
  readonly keep?: true;
  readonly json?: true;
}

/** The scenarios themselves are loaded when one is run. */
export function addDrillVerb(program: Command): void {
  program
    .command('drill <scenario>')
    .description(
      'break something under a recorded load, and check that nothing was lost, doubled or stale; "all" does every drill that is possible',
    )
    .option('--data <dir>', 'a running system, drilled with a vdisk of its own (default: the drill starts a system for itself)')
    .option('--nodes <n>', 'nodes of the system that the drill starts', '3')
    .option('--container <container>', "where the drill's vdisk lives (default: default)")
    .option('--rounds <n>', 'rounds of each scenario', '1')
    .option('--minutes <m>', 'rounds for so long, instead of a number of them', '0')
    .option('--seconds <s>', 'load without a fault in each round, half of it before the fault and half after', '4')
    .option('--connections <n>', 'NBD connections', String(CONNECTIONS))
    .option('--readers <n>', 'further connections that only read', '0')
    .option('--queue-depth <n>', 'requests outstanding on each connection', String(QUEUE_DEPTH))
    .addOption(
      new Option(
        '--load <load>',
        'own: recorded and checked; fio: beside it, on a vdisk of its own, fio writes and verifies; guest: a guest under QEMU does, on ext4',
      )
        .choices(['own', ...BESIDE_LOADS])
        .default('own'),
    )
    .option('--seed <n>', 'of the random choices of the load')
    .option('--report <dir>', 'where drill.json and drill.html are written')
    .option('--strict', 'a bound that is missed is a failure')
    .option('--keep', "leave the drill's vdisk or system as it is")
    .option('--json', 'the report on stdout, as JSON')
    .action(async (scenario: string, flags: DrillFlags) => {
      const { runDrill } = await import('./run.js');
      const passed = await runDrill({
        scenario,
        data: flags.data,
        nodes: wholeNumber('--nodes', flags.nodes, 1, 16),
        container: flags.container,
        rounds: wholeNumber('--rounds', flags.rounds, 1, 10_000),
        minutes: wholeNumber('--minutes', flags.minutes, 0, 100_000),
        seconds: wholeNumber('--seconds', flags.seconds, 1, 3_600),
        connections: wholeNumber('--connections', flags.connections, 1, 16),
        readers: wholeNumber('--readers', flags.readers, 0, 16),
        queueDepth: wholeNumber('--queue-depth', flags.queueDepth, 1, 128),
        beside: BESIDE_LOADS.find(one => one === flags.load) ?? null,
        seed: wholeNumber('--seed', flags.seed ?? String(Date.now() % 2 ** 32), 0, 2 ** 32 - 1),
        report: flags.report,
        strict: flags.strict === true,
        keep: flags.keep === true,
        json: flags.json === true,
      });
      if (!passed) process.exitCode = 1;
    });
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const number = Number(text);
  if (text !== '' && Number.isInteger(number) && number >= least && number <= most) return number;
  throw new GatepathError('invalid', 'ERR_USAGE', `${flag} ${text} is not a whole number from ${least} to ${most}`, '');
}
