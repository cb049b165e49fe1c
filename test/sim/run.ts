import { BLOCK_BYTES } from '../../src/stargate/core/ports.js';
import { IoOp } from '../../src/wire/path.js';
import { findingsIn, type Finding } from './checker.js';
import type { Datapath } from './datapath.js';
import { Disturbances, type Trouble } from './disturbances.js';
import { ALL_MOMENTS, Ending, type How, type Moment } from './endings.js';
import { MAX_ANSWER_NS, MAX_EVENTS } from './limits.js';
import { dedupeHits } from './probe.js';
import { plantRot, verifyOffline, verifyServed } from './verify.js';
import { World, type WorldOptions } from './world.js';

export interface RunOptions extends WorldOptions {
  /** Moments at which lives end; all, where it is missing. */
  readonly moments?: readonly Moment[];
  readonly hows?: readonly How[];
  /** What goes wrong in a life beside its end; all kinds of things, where it is missing. */
  readonly trouble?: Trouble;
}

export interface Counters {
  lives: number;
  kills: number;
  powerCuts: number;
  cutsInStart: number;
  cleanStops: number;
  fatalErrors: number;
  datapaths: number;
  asked: number;
  changes: number;
  reads: number;
  trims: number;
  lostPaths: number;
  replayed: number;
  dedupeHits: number;
  closed: number;
  /** FLUSHes that told of a loss. */
  toldLosses: number;
  drains: number;
  resentDrains: number;
  tornTails: number;
  rotPlanted: number;
  rotFound: number;
  events: number;
}

export interface Result {
  readonly seed: number;
  readonly hash: string;
  /** What clients saw and may not have seen, or could not get. */
  readonly violations: readonly Finding[];
  /** Something threw: our code's own checks, or the simulation's. */
  readonly exception: Error | null;
  readonly counters: Counters;
  readonly lines: readonly string[];
}

const HOWS: readonly How[] = ['power', 'power', 'power', 'power', 'kill', 'stop'];
/** Longest life before something ends it. */
const MAX_LIFE_NS = 30e6;
/** Blocks of one read when all are read. */
const READ_BLOCKS = 8;

/** One seed: some lives of a node under a load, each ended by something, and at last everything read, and read again after a power cut. */
export class Run {
  readonly world: World;
  readonly counters: Counters;
  #datapath: Datapath | null = null;
  readonly #dedupeHitsBefore = dedupeHits();

  constructor(readonly options: RunOptions) {
    this.world = new World(options);
    this.counters = {
      lives: 0,
      kills: 0,
      powerCuts: 0,
      cutsInStart: 0,
      cleanStops: 0,
      fatalErrors: 0,
      datapaths: 0,
      asked: 0,
      changes: 0,
      reads: 0,
      trims: 0,
      lostPaths: 0,
      replayed: 0,
      dedupeHits: 0,
      closed: 0,
      toldLosses: 0,
      drains: 0,
      resentDrains: 0,
      tornTails: 0,
      rotPlanted: 0,
      rotFound: 0,
      events: 0,
    };
  }

  run(): Result {
    const { world, options } = this;
    let exception: Error | null = null;
    try {
      for (let lives = 3 + world.clock.below(4); lives > 0 && world.complaints.length === 0; lives--) this.#life();
      if (world.complaints.length === 0) this.#end();
    } catch (error) {
      exception = error as Error;
    }
    const violations: Finding[] = world.complaints.map(message => ({ message }));
    try {
      violations.push(...findingsIn(world.vdisks));
    } catch (error) {
      exception ??= error as Error;
    }
    this.#count();
    // Whoever runs the next seed finds nothing of this one in its memory.
    world.node.disk.killAll();
    return { seed: options.seed, hash: world.trace.hash, violations, exception, counters: this.counters, lines: world.trace.lines };
  }

  // ---------------------------------------------------------------- lives

  #life(): void {
    const { world, counters, options } = this;
    const { clock, node } = world;
    const hows = options.hows ?? HOWS;
    const ending = new Ending(clock, world, hows[clock.below(hows.length)]!, options.moments ?? ALL_MOMENTS, MAX_LIFE_NS);
    counters.lives++;
    const started = node.start();
    if (this.#datapath === null || clock.below(6) === 0) this.#replaceDatapath(clock.below(2) === 0);
    const disturbances = new Disturbances(world, MAX_LIFE_NS, options.trouble ?? null, isCrash => this.#replaceDatapath(isCrash));
    if (started) this.#until(() => ending.isDue || world.fatal !== '', 'the end of a life');
    disturbances.heal();
    ending.end();
    if (node.disk.isOff && !node.isServing) counters.cutsInStart++;
    if (node.disk.isOff) this.#die('power');
    else if (world.fatal !== '') this.#die('fatal');
    else if (ending.how === 'power') this.#die('power');
    else if (ending.how === 'kill') this.#die('kill');
    else this.#stop();
    // Most often the clients live on and try again; a host that loses power loses them too.
    if (clock.below(4) === 0) {
      this.#datapath!.die();
      this.#datapath = null;
    }
  }

  #die(how: 'power' | 'kill' | 'fatal'): void {
    const { node } = this.world;
    this.world.memoryLost(node.term);
    if (how === 'power') this.counters.powerCuts++;
    else if (how === 'kill') this.counters.kills++;
    else this.counters.fatalErrors++;
    if (how === 'power') node.powerCut();
    else node.kill();
  }

  /** A clean stop, in which the power may go. */
  #stop(): void {
    const { world } = this;
    const { clock, node } = world;
    if (clock.below(3) === 0) node.disk.cutPowerAfterCalls(clock.below(6));
    const cutNs = clock.below(4) === 0 ? clock.nowNs + clock.below(50e6) : Infinity;
    let stopped = false;
    node.stop(() => (stopped = true));
    this.#until(() => stopped || node.disk.isOff || clock.nowNs >= cutNs || world.fatal !== '', 'a clean stop');
    node.disk.cutPowerAfterCalls(Infinity);
    if (!stopped) return this.#die(world.fatal === '' || node.disk.isOff ? 'power' : 'fatal');
    this.counters.cleanStops++;
  }

  #replaceDatapath(isCrash: boolean): void {
    const { world } = this;
    const { clock } = world;
    if (isCrash) this.#datapath?.die();
    const shards = 1 + clock.below(3);
    const { hotBlocks } = world.vdisks[0]!.workload;
    const total = hotBlocks < 10 ? 8 : hotBlocks < 20 ? 12 : 24;
    const depth = Math.max(1, Math.floor((total * (0.3 + 0.7 * clock.random())) / shards));
    this.counters.datapaths++;
    this.#datapath = world.startDatapath(shards, clock.below(3) === 0, depth, clock.below(2) === 0);
  }

  #until(done: () => boolean, what: string): void {
    const { world } = this;
    for (let events = 0; !done(); events++) {
      if (events === MAX_EVENTS) throw new Error(`simulation: ${what} did not come about in ${MAX_EVENTS} events`);
      world.step();
    }
  }

  // ---------------------------------------------------------------- the end

  /** Everything heals: all that was asked is answered, and all is read; it is found again after a clean stop and a power cut. */
  #end(): void {
    const { world } = this;
    const { node, clock } = world;
    this.#startHealthy();
    this.#datapath ??= world.startDatapath(1, false, 4, true);
    this.#quiet();
    this.#readAll();
    let stopped = false;
    node.stop(() => (stopped = true));
    this.#until(() => stopped, 'the last clean stop');
    if (clock.below(2) === 0) node.powerCut();
    world.complaints.push(...verifyOffline(world));
    this.#datapath.die();
    const rot = clock.below(3) === 0 && this.options.trouble === undefined ? plantRot(world) : null;
    if (rot !== null) this.counters.rotPlanted++;
    this.#startHealthy();
    if (rot === null && clock.below(3) === 0) world.complaints.push(...verifyServed(world));
    if (node.part!.problems.length > 0) return;
    this.#datapath = world.startDatapath(1, false, 4, true);
    this.#readAll();
    this.#datapath.die();
    node.kill();
  }

  #startHealthy(): void {
    const { world } = this;
    if (!world.node.start()) throw new Error('simulation: no power');
    this.#until(() => world.node.isServing || world.fatal !== '', 'a node that serves');
  }

  /** Nothing new is asked, and everything that was is answered: progress. */
  #quiet(): void {
    const { world } = this;
    for (const datapath of world.datapaths) datapath.isPaused = true;
    const deadline = world.clock.nowNs + MAX_ANSWER_NS;
    this.#until(() => world.outstanding === 0 || world.clock.nowNs > deadline, 'the last answers');
    for (const client of world.clients) {
      for (const { op } of client.outstanding.values()) world.complaints.push(`client ${client.number}: #${op} is not answered`);
    }
  }

  #readAll(): void {
    const { world } = this;
    for (const datapath of world.datapaths) datapath.isPaused = true;
    for (const vdisk of world.vdisks) {
      const reader = this.#datapath!.clients.find(client => client.vdisk === vdisk)!;
      for (const { block, blocks } of vdisk.workload.runs(READ_BLOCKS)) {
        reader.ask({ op: IoOp.read, offsetBytes: block * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES });
      }
    }
    this.#quiet();
  }

  #count(): void {
    const { counters, world } = this;
    const sessions = world.datapaths.flatMap(({ clients }) => clients.map(({ session }) => session.counters));
    Object.assign(counters, {
      ...counters,
      asked: world.counters.asked,
      changes: world.counters.changes,
      reads: world.counters.reads,
      trims: world.counters.trims,
      closed: world.counters.closed,
      toldLosses: world.counters.toldLosses,
      lostPaths: sessions.reduce((sum, { lost }) => sum + lost, 0),
      replayed: sessions.reduce((sum, { replayed }) => sum + replayed, 0),
      dedupeHits: dedupeHits() - this.#dedupeHitsBefore,
      drains: world.node.counters.drains,
      resentDrains: world.node.counters.resentDrains,
      tornTails: world.node.counters.tornTails,
      rotFound: world.node.counters.rotFound + world.corruptBlocks,
      events: world.trace.events,
    });
  }
}
