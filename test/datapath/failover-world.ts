import { randomUUID } from 'node:crypto';
import { Gather } from 'uring-engine';
import type { EventSink } from '../../src/base/events.js';
import { silentLogger, type Logger } from '../../src/base/log.js';
import { createTermFloor } from '../../src/datapath/floor.js';
import { LocalProbe } from '../../src/datapath/local-probe.js';
import { NodeTable } from '../../src/datapath/nodes.js';
import { HealthTable } from '../../src/datapath/paths.js';
import { ShardSession } from '../../src/datapath/shard-session.js';
import type { SessionFrontEnd, SessionRequest } from '../../src/datapath/session-request.js';
import { ConnectionTable } from '../../src/transport/connection-table.js';
import { TransportMemory } from '../../src/transport/memory.js';
import type { ShardTransport } from '../../src/transport/shard-transport.js';
import { UnixConnector } from '../../src/transport/unix-connector.js';
import { UnixServer } from '../../src/transport/unix-server.js';
import { IoOp } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import { MemoryServing, MemoryStore } from '../transport/memory-serving.js';
import { SimNetwork, simArena, type SimEngine } from '../transport/sim-engine.js';
import { connectShards, SMALL_MEMORY } from '../transport/worlds.js';

const MIB = 1 << 20;
const BLOCK = 4_096;
const PLACES = 64;

/** A Stargate of the group: knows by a rule of the test who the controller is. */
export class SimNode {
  serving!: MemoryServing;
  engine!: SimEngine;
  readonly store = new MemoryStore();

  constructor(
    readonly name: string,
    readonly world: FailoverWorld,
    readonly base: number,
  ) {}

  get socketPath(): string {
    return `/sim/${this.name}`;
  }

  /** The process starts, and serves nothing: `controller` says who does. */
  start(controller: string | null): void {
    const { network } = this.world;
    const engine = (this.engine = network.engine());
    this.serving = new MemoryServing({
      engine,
      store: this.store,
      base: this.base,
      pages: 256,
      random: below => network.random(below),
      delayNs: 300_000,
    });
    this.serving.controller = controller;
    new UnixServer({
      engine,
      table: new ConnectionTable(engine),
      memory: new TransportMemory(this.base + MIB, SMALL_MEMORY),
      software: 'test',
      serving: this.serving,
      shard: 0,
      listener: engine.listen({ family: 'unix', path: this.socketPath }),
      move: () => {
        throw new Error('there is one shard');
      },
      log: silentLogger,
    });
  }

  /** The node wins a term, and serves what the members have in common. */
  takeOver(): void {
    this.store.term = ++this.world.term;
    this.serving.controller = null;
  }

  stepDown(to: string): void {
    this.serving.move(to);
  }
}

/** A datapath's session, and three nodes, of which A is local. Their contents are one: replication is not what is tested here. */
export class FailoverWorld implements SessionFrontEnd {
  readonly network: SimNetwork;
  readonly vdiskId = randomUUID();
  readonly nodes: Readonly<Record<'A' | 'B' | 'C', SimNode>>;
  readonly client: SimEngine;
  readonly health = new HealthTable();
  readonly table = new NodeTable([{ kind: 'unix', socketPath: '/sim/A' }]);
  readonly session: ShardSession;
  readonly probe: LocalProbe;
  readonly lines: string[] = [];
  readonly failures: number[] = [];
  timedOut = 0;
  term = 0;
  underWay = 0;
  done = 0;
  lastDoneNs = 0;
  longestGapNs = 0;
  readonly #free = Array.from({ length: PLACES }, (_, i) => i * BLOCK);
  #watchNs = 0;
  #wroteNs = 0;

  constructor(seed: number, failbackAfterMs: number | null = null, ioTimeoutMs: number | null = null) {
    this.network = new SimNetwork(seed, simArena(64 * MIB));
    const node = (name: string, i: number): SimNode => new SimNode(name, this, (16 + 10 * i) * MIB);
    this.nodes = { A: node('A', 0), B: node('B', 1), C: node('C', 2) };
    const { A, B, C } = this.nodes;
    const vdisk = A.store.add(this.vdiskId, 4 * MIB);
    for (const other of [B, C]) other.store.vdisks.set(this.vdiskId, vdisk);
    for (const one of [A, B, C]) one.start('A');
    A.takeOver();
    this.client = this.network.engine();
    const log: Logger = { log: (level, message, fields) => void this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`) };
    const events: EventSink = { emit: ({ kind, cause }) => void this.lines.push(`${kind} ${cause}`) };
    const context = Object.assign(connectShards([this.client])[0]!, { log, events });
    const memory = new TransportMemory(2 * MIB, SMALL_MEMORY);
    const unix = new UnixConnector({ engine: this.client, table: new ConnectionTable(this.client), memory, software: 'test' });
    const transport = { unix } as unknown as ShardTransport;
    const parts = {
      context,
      transport,
      nodes: this.table,
      health: this.health,
      failbackAfterMs,
      ioTimeoutMs,
      serving: null,
      client: this.client.register({ onCompletion: timer => this.session.onTimer(timer) }),
      nothing: new Gather(1),
    };
    const identity = { vdiskId: this.vdiskId, generation: 1, datapathUuid: randomUUID(), shard: 0 };
    this.session = new ShardSession(parts, identity, 'test', createTermFloor(), 0);
    this.probe = new LocalProbe(transport, this.table.local);
    this.table.setNodes(
      Object.values(this.nodes).map(({ name, socketPath }) => ({ id: name, target: { kind: 'unix', socketPath }, isLocal: name === 'A' })),
    );
    this.tellGroup('A', 1);
    this.session.session.start();
    this.client.poke();
  }

  get violations(): readonly string[] {
    return this.nodes.A.store.vdisks.get(this.vdiskId)!.violations;
  }

  /** What the metadata says. */
  tellGroup(controller: string, epoch: number, members = ['A', 'B', 'C']): void {
    this.table.setGroup({ vdiskId: this.vdiskId, epoch, controller, members });
    this.session.nodesChanged();
    this.client.poke();
  }

  /** Writes every two ms for so long; ends the gap's measurement with an answer. */
  load(ms: number, at: Readonly<Record<number, () => void>> = {}): void {
    const startNs = this.network.nowNs;
    const due = Object.entries(at).map(([when, act]) => ({ ns: startNs + Number(when) * 1e6, act }));
    this.lastDoneNs = startNs;
    while (this.network.nowNs < startNs + ms * 1e6) {
      for (const one of due.filter(({ ns }) => ns <= this.network.nowNs)) {
        due.splice(due.indexOf(one), 1);
        one.act();
      }
      if (this.underWay < 8 && this.network.nowNs - this.#wroteNs > 2e6) {
        this.#wroteNs = this.network.nowNs;
        this.#write();
      }
      this.#watch();
      if (!this.network.step(this.network.nowNs + 1e6)) this.network.pass(1);
    }
  }

  /** Many at once. */
  burst(): void {
    while (this.underWay < 32) this.#write();
  }

  /** No load. */
  idle(ms: number): void {
    const endNs = this.network.nowNs + ms * 1e6;
    while (this.network.nowNs < endNs) {
      this.#watch();
      this.network.pass(10);
    }
  }

  takeGapMs(): number {
    const gapMs = this.longestGapNs / 1e6;
    this.longestGapNs = 0;
    return gapMs;
  }

  onAnswer(request: SessionRequest): void {
    this.underWay--;
    this.done++;
    if (request.timedOut) this.timedOut++;
    else if (request.status !== IoStatus.ok) this.failures.push(request.status);
    this.longestGapNs = Math.max(this.longestGapNs, this.network.nowNs - this.lastDoneNs);
    this.lastDoneNs = this.network.nowNs;
    this.#free.push(request.context as number);
  }

  #write(): void {
    const place = this.#free.pop()!;
    const request = this.session.session.acquire();
    request.set(IoOp.write, place, BLOCK, this, place);
    request.payload = new Gather(1);
    request.payload.add(place, BLOCK);
    this.underWay++;
    this.session.session.submit(request);
    this.client.poke();
  }

  #watch(): void {
    if (this.network.nowNs < this.#watchNs) return;
    this.#watchNs = this.network.nowNs + 250e6;
    this.probe.onWatch(this.network.nowNs, this.session.wantsLocal);
    this.session.onWatch(this.network.nowNs, this.probe.wellSinceNs);
    this.client.poke();
  }
}
