import { resolve } from 'node:path';
import { randomBytes } from 'node:crypto';
import { GatepathError } from '../base/errors.js';
import type { VdiskView } from '../control/schemas.js';
import type { BesideKind, BesideLoad } from './beside.js';
import { checkBeside, startBeside } from './beside-loads.js';
import { Cluster } from './cluster.js';
import { BLOCK_BYTES, COLD_BLOCKS, HOT_BLOCKS, WIDE_BLOCKS } from './limits.js';
import type { LoadOptions } from './load.js';
import { OwnCluster } from './own-cluster.js';
import { Progress } from '../cli/progress.js';
import { Random } from './random.js';
import { checkReplicas, type ReplicaReport } from './replicas.js';
import { boundText, machine, summarize, writeReport, type Report, type Skipped } from './report.js';
import { runRound, type RoundReport } from './round.js';
import type { Scenario } from './scenario.js';
import { SCENARIOS } from './scenarios.js';

export interface DrillOptions {
  readonly scenario: string;
  /** Of a running system; undefined: the drill starts its own. */
  readonly data: string | undefined;
  readonly nodes: number;
  readonly container: string | undefined;
  readonly rounds: number;
  /** Instead of a number of rounds; 0: none. */
  readonly minutes: number;
  readonly seconds: number;
  readonly connections: number;
  readonly readers: number;
  readonly queueDepth: number;
  /** Beside the drill's own load. */
  readonly beside: BesideKind | null;
  readonly seed: number;
  readonly report: string | undefined;
  readonly strict: boolean;
  readonly keep: boolean;
  readonly json: boolean;
}

const VDISK_BYTES = 64 << 20;
/** Every scenario that is possible, one after the other. */
const ALL = 'all';
/** Each round another one, by chance. */
const RANDOM = 'random';

/** Gives whether it passed. */
export async function runDrill(options: DrillOptions): Promise<boolean> {
  const drill = new Drill(options, chosen(options.scenario));
  const interrupt = (signal: NodeJS.Signals): void => {
    void drill.interrupt().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    const report = await drill.run();
    if (options.report !== undefined) writeReport(resolve(options.report), report);
    if (options.json) console.log(JSON.stringify(report, null, 2));
    else printReport(report, options.report);
    return report.passed;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

function chosen(name: string): readonly Scenario[] {
  if (name === ALL || name === RANDOM) return SCENARIOS;
  const one = SCENARIOS.find(scenario => scenario.name === name);
  if (one !== undefined) return [one];
  const names = [...SCENARIOS.map(scenario => scenario.name), ALL, RANDOM].join(', ');
  throw new GatepathError('invalid', 'ERR_USAGE', `there is no drill "${name}"`, `there are ${names}`);
}

class Drill {
  readonly #progress = new Progress();
  readonly #rounds: RoundReport[] = [];
  readonly #skipped: Skipped[] = [];
  readonly #vdisk = `drill-${randomBytes(4).toString('hex')}`;
  #besideVdisk: string | undefined;
  #beside: BesideLoad | undefined;
  #own: OwnCluster | undefined;
  #cluster: Cluster | undefined;
  #undo: readonly (() => Promise<void> | void)[] = [];
  #content: Float64Array = new Float64Array(WIDE_BLOCKS);
  #nextOperation = 1;

  constructor(
    readonly options: DrillOptions,
    readonly scenarios: readonly Scenario[],
  ) {}

  async run(): Promise<Report> {
    const startedAt = new Date().toISOString();
    if (this.options.beside !== null) checkBeside(this.options.beside);
    let passed = false;
    try {
      const cluster = await this.#openCluster();
      const { facts } = cluster;
      const copies = await this.#makeVdisk(cluster);
      const { nbdSocket } = await cluster.attach(this.#vdisk);
      const load = this.#load(nbdSocket!, facts.endpointDies);
      await this.#startBeside(cluster);
      await this.#runAll(cluster, copies, load);
      if (this.#beside !== undefined) this.#progress.show('the last pass of what runs beside');
      const beside = (await this.#beside?.stop()) ?? null;
      const replicas = await this.#checkReplicas(cluster, copies, load);
      const scenarios = this.scenarios
        .filter(({ name }) => this.#rounds.some(round => round.scenario === name))
        .map(({ name, title }) => summarize(name, title, this.#rounds));
      const missed = this.#rounds.some(round => !round.boundKept);
      const allPassed =
        this.#rounds.length > 0 &&
        this.#rounds.every(round => round.passed) &&
        (replicas?.passed ?? true) &&
        (beside?.failures.length ?? 0) === 0;
      passed = allPassed && !(this.options.strict && missed);
      const { connections, readers, queueDepth, hotBlocks, wideBlocks } = load;
      return {
        version: 1,
        startedAt,
        endedAt: new Date().toISOString(),
        seed: this.options.seed,
        facts,
        load: { connections, readers, queueDepth, hotBlocks, wideBlocks, copies },
        machine: machine(),
        passed,
        strict: this.options.strict,
        scenarios,
        skipped: this.#skipped,
        replicas,
        beside,
        rounds: this.#rounds,
      };
    } finally {
      this.#progress.clear();
      await this.#leave(passed);
    }
  }

  /** Puts right what is broken just now. */
  async interrupt(): Promise<void> {
    for (const undo of [...this.#undo].reverse()) await Promise.resolve(undo()).catch(() => undefined);
    await this.#leave(false);
  }

  async #openCluster(): Promise<Cluster> {
    const { data, nodes } = this.options;
    if (data === undefined) {
      this.#progress.show(`starting a system of ${nodes} node${nodes === 1 ? '' : 's'}`);
      const namespaces = process.getuid?.() === 0 && this.scenarios.some(scenario => scenario.needsNetworks === true);
      await OwnCluster.start({ nodes, namespaces }, own => (this.#own = own));
    }
    this.#cluster = new Cluster(this.#own?.dataDir ?? resolve(data!), this.#own !== undefined);
    return this.#cluster;
  }

  /** A vdisk of its own, never one with data. Gives how many copies it is to have. */
  async #makeVdisk(cluster: Cluster): Promise<number> {
    const made = await this.#createVdisk(cluster, this.#vdisk);
    const containers = await cluster.ask(client => client.listContainers());
    return containers.find(one => one.name === made.container)?.replicationFactor ?? 1;
  }

  #createVdisk(cluster: Cluster, name: string): Promise<VdiskView> {
    const { container } = this.options;
    const wanted = { name, sizeBytes: VDISK_BYTES, ...(container === undefined ? {} : { container }) };
    return cluster.ask(client => client.createVdisk(wanted));
  }

  async #startBeside(cluster: Cluster): Promise<void> {
    const { beside, seed } = this.options;
    if (beside === null) return;
    if (beside === 'fio' && cluster.facts.endpointDies) {
      const message = 'fio does not come back to an NBD server that has gone, and here that is in the process that is killed';
      throw new GatepathError('invalid', 'ERR_USAGE', message, 'take --load guest, or drill a system of several nodes');
    }
    const name = (this.#besideVdisk = `${this.#vdisk}-${beside}`);
    await this.#createVdisk(cluster, name);
    const { nbdSocket } = await cluster.attach(name);
    this.#beside = startBeside(beside, nbdSocket!, name, seed);
    this.#progress.show(`the load beside begins: ${beside}`);
    await this.#beside.ready();
  }

  #load(nbdSocket: string, endpointDies: boolean): LoadOptions {
    const { connections, readers, queueDepth, seed } = this.options;
    const random = new Random(seed);
    const sizes = { hotBlocks: HOT_BLOCKS, wideBlocks: Math.min(WIDE_BLOCKS, VDISK_BYTES / BLOCK_BYTES), coldBlocks: COLD_BLOCKS };
    return { nbdSocket, exportName: this.#vdisk, connections, readers, queueDepth, ...sizes, random, endpointDies };
  }

  async #runAll(cluster: Cluster, copies: number, load: LoadOptions): Promise<void> {
    const { scenario: name, rounds, minutes, seed } = this.options;
    const possible = this.scenarios.filter(scenario => this.#isPossible(cluster, scenario));
    const random = new Random(seed);
    const endMs = performance.now() + minutes * 60_000;
    const isOver = (round: number): boolean => (minutes > 0 ? performance.now() > endMs : round >= rounds);
    if (name === RANDOM) {
      for (let i = 0; !isOver(i); i++) {
        const scenario = possible[random.below(possible.length)]!;
        if (!(await this.#runRound(cluster, scenario, copies, load, i))) return;
      }
      return;
    }
    for (const scenario of possible) {
      // The next round would find the same, or what this one has left.
      for (let i = 0; !isOver(i); i++) if (!(await this.#runRound(cluster, scenario, copies, load, i))) break;
    }
  }

  #isPossible(cluster: Cluster, scenario: Scenario): boolean {
    const why = this.#whyNot(cluster, scenario);
    if (why === null) return true;
    if (this.scenarios.length === 1) throw new GatepathError('invalid', 'ERR_USAGE', `drill ${scenario.name} is not possible: ${why}`, '');
    this.#skipped.push({ scenario: scenario.name, why });
    return false;
  }

  #whyNot({ facts }: Cluster, { unsuitable, isExpectedError }: Scenario): string | null {
    const { beside } = this.options;
    const fails = beside !== null && isExpectedError !== undefined;
    return unsuitable(facts) ?? (fails ? `what it is allowed to answer a ${beside} takes for an error: leave --load ${beside} away` : null);
  }

  /** Gives whether it passed. */
  async #runRound(cluster: Cluster, scenario: Scenario, copies: number, load: LoadOptions, number: number): Promise<boolean> {
    const { report, content, operations } = await runRound({
      cluster,
      vdisk: this.#vdisk,
      copies,
      scenario,
      quietMs: this.options.seconds * 1_000,
      load,
      content: this.#content,
      firstOperation: this.#nextOperation,
      onPhase: phase => this.#progress.show(`drill ${scenario.name}, round ${number + 1}: ${phase}`),
      onUndo: undo => (this.#undo = undo),
    });
    this.#content = content;
    this.#nextOperation += operations;
    this.#rounds.push(report);
    return report.passed;
  }

  /** null: there is one copy, or something is wrong with what was read already. */
  async #checkReplicas(cluster: Cluster, copies: number, load: LoadOptions): Promise<ReplicaReport | null> {
    const isSound = ({ stuck, verdict }: RoundReport): boolean => stuck === 0 && verdict.findings.length === 0;
    if (copies < 2 || !this.#rounds.every(isSound)) return null;
    return checkReplicas({
      cluster,
      vdisk: this.#vdisk,
      copies,
      load,
      content: this.#content,
      firstOperation: this.#nextOperation,
      onPhase: phase => this.#progress.show(`copies: ${phase}`),
    });
  }

  async #leave(passed: boolean): Promise<void> {
    const { keep } = this.options;
    const cluster = this.#cluster;
    this.#beside?.kill();
    if (this.#own !== undefined) {
      await this.#own.stop(passed && !keep, [...(cluster?.started.values() ?? [])]);
      if (!passed || keep) console.error(`kept for a look: ${this.#own.dataDir}`);
    } else if (cluster !== undefined && !keep) {
      // Of somebody else's system nothing is left behind; what cannot be removed now is told.
      const remove = async (name: string): Promise<void> => {
        await cluster.ask(client => client.detach(name));
        await cluster.ask(client => client.deleteVdisk(name));
      };
      for (const name of [this.#vdisk, ...(this.#besideVdisk === undefined ? [] : [this.#besideVdisk])]) {
        await remove(name).catch((error: Error) => console.error(`note: vdisk ${name} could not be removed: ${error.message}`));
      }
    }
  }
}

function printReport(report: Report, directory: string | undefined): void {
  for (const { scenario, why } of report.skipped) console.log(`${scenario}: left out: ${why}`);
  for (const one of report.scenarios) {
    const verdict = one.failedRounds === 0 ? 'passed' : `FAILED in ${one.failedRounds}`;
    const missed = one.missedRounds === 0 ? 'kept' : `missed in ${one.missedRounds}`;
    const whole = one.redundantAfterMs === null ? 'not whole again' : `whole again after ${(one.redundantAfterMs / 1_000).toFixed(1)} s`;
    console.log(
      `${one.scenario}: ${verdict} of ${one.rounds} rounds; ${boundText(one.bound)}: ${missed}, worst ${one.worstMs.toFixed(1)} ms; ${whole}`,
    );
  }
  const total = { lost: 0, doubled: 0, stale: 0, torn: 0, errors: 0, operations: 0 };
  for (const { verdict, errors, operations, failures, scenario } of report.rounds) {
    for (const kind of ['lost', 'doubled', 'stale', 'torn'] as const) total[kind] += verdict.counts[kind];
    total.errors += errors;
    total.operations += operations;
    for (const failure of failures) console.log(`  ${scenario}: ${failure}`);
    for (const { fault, block, message } of verdict.findings) console.log(`  ${fault}, block ${block}: ${message}`);
  }
  if (report.replicas !== null) {
    for (const failure of report.replicas.failures) console.log(`  copies: ${failure}`);
    console.log(`copies: everything read from ${report.replicas.served.map(({ node }) => node).join(', ')}, each in turn the controller`);
  }
  if (report.beside !== null) {
    const { load, passes, failures } = report.beside;
    for (const failure of failures) console.log(`  ${load}: ${failure}`);
    console.log(`${load}: ${passes} passes without an error`);
  }
  const { lost, doubled, stale, torn, errors, operations } = total;
  console.log(`${operations} operations: ${lost} lost, ${doubled} doubled, ${stale} stale, ${torn} torn, ${errors} I/O errors`);
  if (directory !== undefined) console.log(`report: ${resolve(directory)}/drill.html`);
  console.log(report.passed ? 'passed' : 'FAILED');
}
