import { randomUUID } from 'node:crypto';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Gather, type ArenaRegion } from 'uring-engine';
import { silentLogger } from '../../src/base/log.js';
import { PROBES_BYTES } from '../../src/base/probe.js';
import { createShardContext, type ShardContext } from '../../src/shard/context.js';
import { createMailboxBuffers } from '../../src/shard/mailbox.js';
import { ConnectionTable } from '../../src/transport/connection-table.js';
import { MailboxConnector } from '../../src/transport/mailbox-path.js';
import { MailboxServer } from '../../src/transport/mailbox-server.js';
import { TransportMemory } from '../../src/transport/memory.js';
import type { PathListener } from '../../src/transport/path-listener.js';
import { UnixConnector } from '../../src/transport/unix-connector.js';
import { UnixServer, type MovedConnection } from '../../src/transport/unix-server.js';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest, type StargatePath } from '../../src/wire/path.js';
import type { OpenedSession, SessionRequest } from '../../src/wire/serving.js';
import { IoStatus } from '../../src/wire/status.js';
import { MemoryServing, MemoryStore, type MemoryVdisk } from './memory-serving.js';
import { SimNetwork, type SimEngine } from './sim-engine.js';

export const SOCKET = '/sim/stargate.sock';
export const VDISK_BYTES = 4 << 20;
const MIB = 1 << 20;
export const SMALL_MEMORY = { sendAreas: 8, small: 64, chunks: 32, medium: 4, large: 4 } as const;
/** Parts of the 64 MiB arena. */
export const Area = { client: 0, clientTransport: 16 * MIB, serverTransport: 26 * MIB, serving: 40 * MIB } as const;
export const SERVING_PAGES = 4_096;

export type PathKind = 'same-shard' | 'other-shard' | 'unix';

/** A request of a test: counts its answers. */
export class TestRequest implements PathRequest {
  op: IoOp = IoOp.flush;
  offsetBytes = 0;
  lengthBytes = 0;
  clientSeq = 0;
  lowWater = 1;
  fua = false;
  readonly payload = new Gather();
  readonly data = new Gather();
  status: IoStatus = IoStatus.fenced;
  term = 0;
  readonly extents = new Float64Array(2 * MAX_MAP_EXTENTS);
  extentCount = 0;
  pathTag = 0;
  submittedNs = 0;
  answers = 0;
  readonly owner = this;

  onReply(): void {
    this.answers++;
  }

  /** The data of a READ, copied. */
  bytes(arena: Uint8Array): Uint8Array {
    const out = new Uint8Array(this.data.totalBytes);
    let at = 0;
    for (let i = 0; i < this.data.count; i++) {
      const from = this.data.offsets[i]!;
      out.set(arena.subarray(from, from + this.data.lengths[i]!), at);
      at += this.data.lengths[i]!;
    }
    return out;
  }
}

/** Client and Stargate with one kind of path between them. */
export class PathWorld {
  readonly network: SimNetwork;
  readonly store = new MemoryStore();
  readonly vdisk: MemoryVdisk;
  readonly client: SimEngine;
  serving!: MemoryServing;
  serverEngine!: SimEngine;
  server: UnixServer | null = null;
  readonly connector: UnixConnector | null = null;
  readonly clientMemory = new TransportMemory(Area.clientTransport, SMALL_MEMORY);
  serverMemory = new TransportMemory(Area.serverTransport, SMALL_MEMORY);
  readonly #mailbox: MailboxConnector | null = null;
  readonly datapathUuid = randomUUID();

  constructor(
    readonly kind: PathKind,
    seed: number,
    readonly delayNs = 2_000_000,
    readonly limits = { maxRequests: 64, maxBytes: 4 * MIB },
  ) {
    this.network = new SimNetwork(seed);
    this.vdisk = this.store.add(randomUUID(), VDISK_BYTES);
    this.client = this.network.engine();
    if (kind === 'unix') {
      this.startServer();
      const parts = { engine: this.client, table: new ConnectionTable(this.client), memory: this.clientMemory, software: 'test' };
      this.connector = new UnixConnector(parts);
    } else if (kind === 'same-shard') {
      this.#serve(this.client);
    } else {
      this.serverEngine = this.network.engine();
      const [serverSide, clientSide] = connectShards([this.serverEngine, this.client]);
      this.#serve(this.serverEngine);
      new MailboxServer(serverSide!, this.serving);
      this.#mailbox = new MailboxConnector(clientSide!);
    }
  }

  /** A Stargate process starts on the store there is. */
  startServer(): void {
    const engine = (this.serverEngine = this.network.engine());
    this.#serve(engine);
    this.serverMemory = new TransportMemory(Area.serverTransport, SMALL_MEMORY);
    this.server = new UnixServer({
      engine,
      table: new ConnectionTable(engine),
      memory: this.serverMemory,
      software: 'test',
      serving: this.serving,
      shard: 0,
      listener: engine.listen({ family: 'unix', path: SOCKET }),
      move: () => {
        throw new Error('there is one shard');
      },
      log: silentLogger,
      limits: this.limits,
    });
  }

  killServer(): void {
    this.serverEngine.kill();
  }

  session(generation = 1, shard = 0): SessionRequest {
    return { vdiskId: this.vdisk.id, generation, datapathUuid: this.datapathUuid, shard };
  }

  ask(session: SessionRequest, listener: PathListener): void {
    if (this.connector !== null) this.connector.open(SOCKET, session, listener);
    else if (this.#mailbox !== null) this.#mailbox.open(0, session, listener);
    else this.serving.openSession(session, { ...bound(listener), onEnded: (reason, node) => listener.onEnded(reason, '', node) });
  }

  closeSession(session: SessionRequest): void {
    let closed = false;
    const done = (): void => void (closed = true);
    if (this.connector !== null) this.connector.closeSession(SOCKET, session, done);
    else if (this.#mailbox !== null) this.#mailbox.closeSession(0, session, done);
    else this.serving.closeSession(session, done);
    this.network.run(() => closed, 'the session to be closed');
  }

  open(session = this.session()): OpenPath {
    const result = new OpenPath();
    this.ask(session, result);
    this.network.run(() => result.path !== null || result.refused !== null || result.ended !== null, 'a path');
    return result;
  }

  get arena(): Uint8Array {
    return this.network.arena.bytes;
  }

  #serve(engine: SimEngine): void {
    this.store.term++;
    this.serving = new MemoryServing({
      engine,
      store: this.store,
      base: Area.serving,
      pages: SERVING_PAGES,
      random: below => this.network.random(below),
      delayNs: this.delayNs,
    });
  }
}

/** A path that was asked for, and what became of it. */
export class OpenPath implements PathListener {
  path: StargatePath | null = null;
  info: OpenedSession | null = null;
  refused: string | null = null;
  refusal = '';
  ended: string | null = null;
  /** The hint that came with the refusal or the end. */
  node: string | null = null;

  onOpened(path: StargatePath, info: OpenedSession): void {
    this.path = path;
    this.info = info;
  }
  onRefused(reason: string, message: string, node?: string): void {
    this.refused = reason;
    this.refusal = message;
    this.node = node ?? null;
  }
  onEnded(reason: string, _message: string, node?: string): void {
    this.ended = reason;
    this.node = node ?? null;
  }
}

/** Contexts of shards that run on these engines, in one thread. `mainPorts` collects the main thread's end of each. */
export function connectShards(
  engines: readonly SimEngine[],
  regions: readonly ArenaRegion[] = [],
  mainPorts: MessagePort[] = [],
): ShardContext[] {
  const mailboxes = createMailboxBuffers(engines.length);
  const ports = engines.map(() => engines.map(() => null as MessagePort | null));
  const channel = (): MessageChannel => {
    const made = new MessageChannel();
    made.port1.unref();
    made.port2.unref();
    return made;
  };
  for (let a = 0; a < engines.length; a++) {
    for (let b = a + 1; b < engines.length; b++) {
      const { port1, port2 } = channel();
      ports[a]![b] = port1;
      ports[b]![a] = port2;
    }
  }
  const wakeHandles = engines.map(engine => engine.wakeHandle);
  return engines.map((engine, index) => {
    const main = channel();
    mainPorts.push(main.port1);
    const region = regions[index] ?? (null as never);
    return createShardContext({
      index,
      engine,
      region,
      ports: { main: main.port2, shards: ports[index]! },
      mailboxes,
      wakeHandles,
      probes: new SharedArrayBuffer(PROBES_BYTES),
    });
  });
}

export type { MovedConnection };

function bound(listener: PathListener): Pick<PathListener, 'onOpened' | 'onRefused'> {
  return {
    onOpened: (path, session) => listener.onOpened(path, session),
    onRefused: (reason, message, node) => listener.onRefused(reason, message, node),
  };
}
