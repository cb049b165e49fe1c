import { VirtualClock } from 'uring-engine/faulty';
import { IoOp } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import type { Client, ClientPaths, Operation } from './client.js';
import { Datapath } from './datapath.js';
import { History } from './history.js';
import { Memory } from './memory.js';
import { Trace } from './trace.js';
import { Workload } from './workload.js';

const VDISK_IDS = ['0d2c8a10-5b6e-4a53-9f0e-7a5d0c1e2f30', '0d2c8a11-1c7f-4b1e-8d6a-3f2b9c4d5e6f'];

/** A vdisk and what is known of it. */
export interface Vdisk {
  readonly id: string;
  readonly index: number;
  readonly workload: Workload;
  readonly history: History;
  /** Changes of clients that died, until the node has ended their sessions. */
  readonly abandoned: Operation[];
}

/** Counted over a run. */
export interface WorldCounters {
  asked: number;
  changes: number;
  reads: number;
  trims: number;
  replayed: number;
  lostPaths: number;
  closed: number;
  toldLosses: number;
}

/** How fast clients ask. */
export interface Pace {
  /** Longest time between two things that a client asks for: of hasty and of slow ones. */
  readonly maxThinkNs: readonly number[];
  /** And when it thinks for long. */
  readonly maxLongNs: number;
}

export interface LoadOptions {
  readonly seed: number;
  /** Keep the trace as text. */
  readonly isRead?: boolean | undefined;
  /** Instead of what the seed says. */
  readonly vdiskCount?: number | undefined;
  readonly hotBlocks?: number | undefined;
  /** In one run of so many whole segments are zeroed and trimmed, now and then; in all, where it is missing. */
  readonly wholeSegmentsIn?: number;
  /** Changes are answered before they are durable; clients flush, or ask for FUA. */
  readonly isVolatile?: boolean;
}

/** One clock, vdisks, and datapaths that use them: what one node and a cluster of nodes have in common. */
export abstract class Load {
  readonly clock: VirtualClock;
  readonly trace: Trace;
  readonly memory = new Memory();
  readonly vdisks: readonly Vdisk[];
  readonly datapaths: Datapath[] = [];
  readonly counters: WorldCounters = { asked: 0, changes: 0, reads: 0, trims: 0, replayed: 0, lostPaths: 0, closed: 0, toldLosses: 0 };
  /** What must not happen, beside what the checker finds. */
  readonly complaints: string[] = [];
  /** Damage has been planted: it may be reported. */
  mayBeCorrupt = false;
  /** Processes that have ended with what was in their memory alone. */
  deaths = 0;
  /** The disk has been full: changes may be refused for that. */
  mayBeFull = false;
  nextClient = 1;
  nextOperation = 1;
  abstract readonly pace: Pace;
  /** Of attachments: the newest, and the one that holds the vdisks. */
  #generation = 0;
  #holding = 0;

  constructor({ seed, isRead, vdiskCount, hotBlocks, wholeSegmentsIn = 1, isVolatile = false }: LoadOptions) {
    this.clock = new VirtualClock(seed);
    const { clock } = this;
    this.trace = new Trace(clock, isRead === true);
    const count = vdiskCount ?? 1 + clock.below(2);
    const hasWholeSegments = wholeSegmentsIn === 1 || clock.below(wholeSegmentsIn) === 0;
    this.vdisks = VDISK_IDS.slice(0, count).map((id, index) => ({
      id,
      index,
      workload: new Workload(clock, hotBlocks, hasWholeSegments, isVolatile),
      history: new History(isVolatile),
      abandoned: [],
    }));
  }

  abstract makePaths(client: Client, floor: SharedArrayBuffer, isDirect: boolean): ClientPaths;

  /** The next event. */
  step(): void {
    if (!this.clock.step()) throw new Error('simulation: nothing happens any more');
  }

  // ---------------------------------------------------------------- datapaths

  /** A datapath that takes the vdisks over from any other: of a newer attachment, or another one of the same. */
  startDatapath(shards: number, isDirect: boolean, depth: number, newGeneration: boolean): Datapath {
    if (newGeneration || this.#generation === 0) this.#holding = ++this.#generation;
    const datapath = new Datapath(this, this.#holding, `datapath-${this.datapaths.length}`, shards, isDirect, depth);
    // Its guest has begun anew.
    if (newGeneration) for (const client of datapath.clients) client.heardDeaths = this.deaths;
    this.datapaths.push(datapath);
    return datapath;
  }

  /** A datapath of a newer attachment, which is let in beside the one that holds the vdisks (rule 18). */
  startShared(shards: number, depth: number): Datapath {
    const datapath = new Datapath(this, ++this.#generation, `datapath-${this.datapaths.length}`, shards, false, depth, true);
    this.datapaths.push(datapath);
    return datapath;
  }

  /** It is told to hold them. */
  activated(shared: Datapath): void {
    shared.isShared = false;
    this.#holding = shared.generation;
  }

  /** Clients that live and whose sessions are not over. */
  get clients(): Client[] {
    return this.datapaths.flatMap(({ clients }) => clients).filter(client => !client.isDead && !client.isOver);
  }

  get outstanding(): number {
    return this.datapaths.filter(({ isDead }) => !isDead).reduce((sum, datapath) => sum + datapath.outstanding, 0);
  }

  /** `term`: of whoever has answered. */
  answered(client: Client, { op, wish, startedNs }: Operation, status: IoStatus, _term: number): void {
    const { counters } = this;
    counters.asked++;
    if (wish.op === IoOp.read) counters.reads++;
    else if (wish.op !== IoOp.flush) counters.changes++;
    if (wish.op === IoOp.trim) counters.trims++;
    if (status === IoStatus.ok) return;
    if (status === IoStatus.lost) counters.toldLosses++;
    if (status === IoStatus.lost && wish.op === IoOp.flush && client.hearsOfLoss()) return;
    if (status === IoStatus.closed) counters.closed++;
    else if (!this.mayRefuse(client, status)) {
      this.complaints.push(`client ${client.number}: #${op}, asked at ${startedNs}, was answered with status ${status}`);
    }
  }

  /** Whether something has happened for which requests may be answered so. */
  protected mayRefuse(_client: Client, status: IoStatus): boolean {
    return (status === IoStatus.corrupt && this.mayBeCorrupt) || (status === IoStatus.noSpace && this.mayBeFull);
  }

  /** The node's process ends, and not cleanly: what was answered and not flushed may be lost, and who has a session is to hear of it. */
  memoryLost(term: number, vdisks = this.vdisks): void {
    this.deaths++;
    for (const vdisk of vdisks) {
      const users = this.clients.filter(client => client.vdisk === vdisk && client.hasOpened);
      vdisk.history.lost(
        users.map(({ number }) => number),
        term,
      );
    }
  }

  /** A client died with this open. */
  abandoned(vdisk: Vdisk, operation: Operation): void {
    vdisk.abandoned.push(operation);
  }
}
