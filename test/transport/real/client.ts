import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { ArenaRegion, createArena, createEngine, Gather, type EngineClient } from 'uring-engine';
import { createTermFloor } from '../../../src/datapath/floor.js';
import { NodeTable } from '../../../src/datapath/nodes.js';
import { HealthTable } from '../../../src/datapath/paths.js';
import { ShardSession, TIMERS_PER_SESSION } from '../../../src/datapath/shard-session.js';
import type { SessionFrontEnd, SessionRequest } from '../../../src/datapath/session-request.js';
import type { EventDraft } from '../../../src/base/events.js';
import type { ShardContext } from '../../../src/shard/context.js';
import { createSessionProbes } from '../../../src/base/probe.js';
import type { SessionProbesOpened } from '../../../src/datapath/messages.js';
import { ConnectionTable } from '../../../src/transport/connection-table.js';
import { TransportMemory } from '../../../src/transport/memory.js';
import type { ShardTransport } from '../../../src/transport/shard-transport.js';
import { UnixConnector } from '../../../src/transport/unix-connector.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';

/**
 * A datapath session without NBD: `--depth` requests of `--size` bytes under way for `--ms`, each checked: a read must hold one pattern that was
 * written to its block. Prints one line of JSON.
 */
const { values } = parseArgs({
  options: {
    socket: { type: 'string' },
    engine: { type: 'string' },
    vdisk: { type: 'string' },
    bytes: { type: 'string' },
    depth: { type: 'string' },
    size: { type: 'string' },
    ms: { type: 'string' },
    mode: { type: 'string' },
  },
});
const [bytes, depth, size, ms] = [Number(values.bytes), Number(values.depth), Number(values.size), Number(values.ms)];
const mode = values.mode as 'read' | 'write' | 'verify';

const arena = createArena(256 << 20);
const region = new ArenaRegion(arena);
const engine = createEngine({ arena, kind: values.engine as 'io_uring' | 'libuv' });
const memory = new TransportMemory(region.take(TransportMemory.bytesFor()));
const unix = new UnixConnector({ engine, table: new ConnectionTable(engine), memory, software: 'test' });
const problems: string[] = [];
let probes = createSessionProbes();
const send = (_to: number, _topic: string, { memory }: SessionProbesOpened): void => void (probes = createSessionProbes(memory));
const events = { emit: ({ kind }: EventDraft) => void problems.push(kind) };
const log = { log: (_level: string, message: string) => void problems.push(message) };

class Load implements SessionFrontEnd, EngineClient {
  readonly session: ShardSession;
  /** What was written last to each block, and whether a write to it is under way. */
  readonly #written = new Uint32Array(bytes / size);
  readonly #busy = new Uint8Array(bytes / size);
  readonly #places: number[] = [];
  done = 0;
  bad = 0;
  underWay = 0;
  #value = 0;
  #next = 0;
  ending = false;

  constructor() {
    const client = engine.register(this);
    const context = { index: 0, engine, send, log, events } as unknown as ShardContext;
    const targets = [{ kind: 'unix', socketPath: values.socket! }] as const;
    const parts = {
      context,
      transport: { unix } as unknown as ShardTransport,
      nodes: new NodeTable(targets),
      health: new HealthTable(),
      serving: null,
      client,
      nothing: new Gather(1),
      failbackAfterMs: null,
    };
    const identity = { vdiskId: values.vdisk!, generation: 1, datapathUuid: randomUUID(), shard: 0 };
    this.session = new ShardSession(parts, identity, 'test', createTermFloor(), 0);
    for (let i = 0; i < depth; i++) this.#places.push(region.take(size));
    engine.timer(ms * 1e6, client, TIMERS_PER_SESSION);
  }

  onCompletion(tag: number): void {
    if (tag < TIMERS_PER_SESSION) this.session.onTimer(tag);
    else {
      this.ending = true;
      if (this.underWay === 0) engine.stop();
    }
  }

  start(): void {
    this.session.session.start();
    for (let i = 0; i < depth; i++) this.#issue();
  }

  onAnswer(request: SessionRequest): void {
    this.underWay--;
    if (this.done++ === 0) process.stdout.write('started\n');
    const block = request.offsetBytes / size;
    if (request.status !== IoStatus.ok) this.bad++;
    if (request.op === IoOp.write) {
      const place = request.context as number;
      this.#written[block] = arena.view.getUint32(place, true);
      this.#places.push(place);
    } else {
      if (mode === 'verify' && !this.#holds(request, this.#written[block]!)) this.bad++;
      this.#places.push(request.context as number);
      this.session.session.release(request);
    }
    this.#busy[block] = 0;
    if (!this.ending) this.#issue();
    else if (this.underWay === 0) engine.stop();
  }

  #holds(request: SessionRequest, value: number): boolean {
    for (let i = 0; i < request.data.count; i++) {
      const words = new Uint32Array(arena.bytes.buffer, request.data.offsets[i], request.data.lengths[i]! / 4);
      if (words.some(word => word !== value)) return false;
    }
    return request.data.totalBytes === size;
  }

  #issue(): void {
    do this.#next = (Math.imul(this.#next, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    while (this.#busy[(this.#next >>> 8) % this.#busy.length] === 1);
    const block = (this.#next >>> 8) % this.#busy.length;
    const place = this.#places.pop()!;
    const write = mode === 'write' || (mode === 'verify' && this.#next % 3 === 0);
    this.#busy[block] = 1;
    this.underWay++;
    const request = this.session.session.acquire();
    request.set(write ? IoOp.write : IoOp.read, block * size, size, this, place);
    if (write) {
      if (mode === 'verify') new Uint32Array(arena.bytes.buffer, place, size / 4).fill(++this.#value);
      request.payload = new Gather(1);
      request.payload.add(place, size);
    } else request.data = new Gather(4);
    this.session.session.submit(request);
  }
}

const load = new Load();
const start = process.hrtime.bigint();
load.start();
await engine.run();
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const { counters } = load.session.session;
const path = probes.path.summary().service;
process.stdout.write(
  `${JSON.stringify({ perSecond: Math.round(load.done / seconds), done: load.done, bad: load.bad, ...counters, problems, pathP50Us: path.p50Ns / 1_000, pathP99Us: path.p99Ns / 1_000 })}\n`,
);
process.exit(0);
