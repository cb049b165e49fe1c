import { SEGMENT_BYTES } from '../../../src/stargate/core/ports.js';
import { IoOp, type PathRequest } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { SharedUnits, UNIT_BYTES, type Change } from './unit-model.js';
import type { Rig, Step, TestSession } from './rig.js';

const REGION_BYTES = 1 << 20;
/** The region lies across the border of two segments. */
const REGION_START = SEGMENT_BYTES - REGION_BYTES / 2;
const SLOT_BYTES = 256 << 10;
const SLOTS = 16;
/** How often a request finds that a path is lost, and for how many requests of the others. */
const LOSS_RATE = 0.02;
const OUTAGE_REQUESTS = 12;

interface Outstanding {
  readonly change: Change;
  readonly op: IoOp;
  readonly from: number;
  readonly to: number;
  readonly clientSeq: number;
  readonly slot: number;
}

interface Client {
  path: TestSession | null;
  nextSeq: number;
  /** Requests until it opens its session again. */
  outage: number;
  /** Each path has a number: what an earlier one answers is nobody's. */
  epoch: number;
  readonly changes: Map<number, Outstanding>;
  readonly reads: Set<{ readonly slot: number; readonly startedAt: number }>;
}

/**
 * Several sessions that write, zero, trim and read one region of a vdisk, with requests outstanding all the time. Paths are lost, one session's at a time, while the
 * others go on; what is outstanding survives its path and the node, and is sent again, as a datapath does.
 */
export class Workload {
  readonly #model = new SharedUnits(REGION_BYTES / UNIT_BYTES);
  readonly #clients: readonly Client[];
  readonly #freeSlots = Array.from({ length: SLOTS }, (_, i) => i);
  #nextId = 1;
  reads = 0;
  changes = 0;
  replays = 0;

  constructor(
    readonly random: () => number,
    sessions: number,
  ) {
    this.#clients = Array.from({ length: sessions }, () => ({
      path: null,
      nextSeq: 1,
      outage: 0,
      epoch: 0,
      changes: new Map(),
      reads: new Set(),
    }));
  }

  /** Sends `count` requests; does not wait for what is outstanding then. Resumes with an error, or nothing. */
  run(rig: Rig, count: number): Step {
    return resume => new Run(this, rig, count, resume).start();
  }

  // ---------------------------------------------------------------- for Run

  get clients(): readonly Client[] {
    return this.#clients;
  }

  get isBusy(): boolean {
    return this.#freeSlots.length === 0;
  }

  loses(client: Client): boolean {
    if (this.random() >= LOSS_RATE) return false;
    client.path!.path.close();
    this.forgetPath(client);
    client.outage = OUTAGE_REQUESTS;
    return true;
  }

  /** Its reads are not sent again. */
  forgetPath(client: Client): void {
    client.path = null;
    client.epoch++;
    for (const read of client.reads) {
      this.#freeSlots.push(read.slot);
      this.#model.readEnded(read.startedAt);
    }
    client.reads.clear();
  }

  change(rig: Rig, client: Client, answered: (take: () => void) => void): void {
    const dice = this.random();
    const op = dice < 0.8 ? IoOp.write : dice < 0.9 ? IoOp.zero : IoOp.trim;
    const { from, to } = this.#range(op === IoOp.trim ? 4096 : this.random() < 0.5 ? 4096 : UNIT_BYTES);
    const change = this.#model.changeStarted(op === IoOp.write ? this.#nextId++ : 0, from / UNIT_BYTES, to / UNIT_BYTES);
    const one: Outstanding = { change, op, from, to, clientSeq: client.nextSeq++, slot: this.#freeSlots.pop()! };
    client.changes.set(one.clientSeq, one);
    this.changes++;
    this.send(rig, client, one, answered);
  }

  send(rig: Rig, client: Client, one: Outstanding, answered: (take: () => void) => void): void {
    const { op, from, to, clientSeq, slot } = one;
    const path = client.path!;
    const { epoch } = client;
    path.lowWater = Math.min(...client.changes.keys());
    const request = path.request(op, REGION_START + from, to - from, clientSeq, ({ status }) => {
      if (client.epoch === epoch) answered(() => this.#changed(client, one, status));
    });
    if (op === IoOp.write) {
      const at = rig.scratch + slot * SLOT_BYTES;
      rig.arena.words.fill(one.change.id, at / 4, (at + to - from) / 4);
      request.payload.add(at, to - from);
    }
    path.path.submit(request);
  }

  #changed(client: Client, one: Outstanding, status: IoStatus): void {
    if (status !== IoStatus.ok) throw new Error(`change ${one.change.id} was answered ${status}`);
    client.changes.delete(one.clientSeq);
    this.#freeSlots.push(one.slot);
    this.#model.changeEnded(one.change);
  }

  read(rig: Rig, client: Client, answered: (take: () => void) => void): void {
    const { from, to } = this.#range(UNIT_BYTES);
    const read = { slot: this.#freeSlots.pop()!, startedAt: this.#model.readStarted() };
    client.reads.add(read);
    const path = client.path!;
    const { epoch } = client;
    const request = path.request(IoOp.read, REGION_START + from, to - from, client.nextSeq++, reply => {
      const content = reply.status === IoStatus.ok ? contentOf(rig, reply) : null;
      if (content !== null) path.path.release(reply);
      if (client.epoch !== epoch) return;
      answered(() => {
        if (content === null) throw new Error(`a read was answered ${reply.status}`);
        client.reads.delete(read);
        this.#freeSlots.push(read.slot);
        this.reads++;
        this.#model.check(from / UNIT_BYTES, content, read.startedAt);
      });
    });
    path.path.submit(request);
  }

  /** Mostly short ones. */
  #range(unit: number): { from: number; to: number } {
    const from = Math.floor((this.random() * REGION_BYTES) / unit) * unit;
    const length = Math.ceil((this.random() ** 6 * SLOT_BYTES) / unit) * unit || unit;
    return { from, to: Math.min(REGION_BYTES, from + length) };
  }
}

/** One life of the node. */
class Run {
  readonly #client: number;
  #scheduled = false;
  #ended = false;
  #left: number;

  constructor(
    readonly workload: Workload,
    readonly rig: Rig,
    count: number,
    readonly resume: (error?: unknown) => void,
  ) {
    this.#left = count;
    this.#client = rig.engine.register({
      onCompletion: () =>
        this.#guard(() => {
          this.#scheduled = false;
          this.#next();
        }),
    });
  }

  start(): void {
    for (const client of this.workload.clients) this.workload.forgetPath(client);
    const open = (index: number): void => {
      if (index < this.workload.clients.length) this.#open(index, () => open(index + 1));
      else this.#goOn();
    };
    open(0);
  }

  /** Opens or resumes the session, and sends again what is outstanding, in order, before anything new. */
  #open(index: number, opened: () => void): void {
    const client = this.workload.clients[index]!;
    this.rig.open(
      1,
      'a',
      index,
    )(path => {
      if (typeof path === 'string') throw new Error(`session ${index} was refused: ${path}`);
      client.path = path as TestSession;
      for (const one of [...client.changes.values()]) {
        this.workload.replays++;
        this.workload.send(this.rig, client, one, this.#answered);
      }
      opened();
    });
  }

  readonly #answered = (take: () => void): void =>
    this.#guard(() => {
      take();
      this.#goOn();
    });

  /** Never within the call that answers. */
  #goOn(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.rig.engine.timer(0, this.#client, 0);
  }

  #next(): void {
    const { workload, rig } = this;
    while (!this.#ended && !workload.isBusy) {
      if (this.#left-- <= 0) return this.#end();
      const index = Math.floor(workload.random() * workload.clients.length);
      const client = workload.clients[index]!;
      if (client.path === null) {
        if (client.outage-- === 0) this.#open(index, () => this.#goOn());
      } else if (!workload.loses(client)) {
        if (workload.random() < 0.5) workload.change(rig, client, this.#answered);
        else workload.read(rig, client, this.#answered);
      }
    }
    if (workload.clients.every(({ path }) => path === null)) this.#open(0, () => this.#goOn());
  }

  #guard(run: () => void): void {
    if (this.#ended) return;
    try {
      run();
    } catch (error) {
      this.#end(error);
    }
  }

  #end(error?: unknown): void {
    this.#ended = true;
    this.resume(error);
  }
}

function contentOf(rig: Rig, { data }: PathRequest): Int32Array {
  const bytes = new Uint8Array(data.totalBytes);
  let at = 0;
  for (let i = 0; i < data.count; i++) {
    bytes.set(rig.arena.bytes.subarray(data.offsets[i], data.offsets[i]! + data.lengths[i]!), at);
    at += data.lengths[i]!;
  }
  return new Int32Array(bytes.buffer);
}
