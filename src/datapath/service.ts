import { ExportMap, NbdServer, type MovedConnection, type ServerLimits, type TlsHandover, type TlsTerminator } from 'nbd-server-ts';
import { Gather, type EngineClient, type Slot } from 'uring-engine';
import { MAIN, type ShardContext } from '../shard/context.js';
import type { ShardPart } from '../shard/run.js';
import type { ShardTransport } from '../transport/shard-transport.js';
import type { VdiskServing } from '../wire/serving.js';
import { ExportTable } from './export-table.js';
import { VdiskExport } from './export.js';
import { DETACH_POLL_MS, MAX_EXPORTS, STOP_NBD_MS, WATCH_INTERVAL_MS } from './limits.js';
import {
  DatapathTopic,
  type ExportDescription,
  type ExportKey,
  type ExportResize,
  type HandOverRequest,
  type SessionPosition,
  type SessionStatus,
  type ShardHandedOver,
  type ShardStatus,
  type ShardTaken,
  type StatusRequest,
} from './messages.js';
import { LocalProbe } from './local-probe.js';
import { NodeTable, type KnownGroup, type KnownNode } from './nodes.js';
import { HealthTable, type PathTarget } from './paths.js';
import { ConnectionPlacement } from './placement.js';
import { ShardSession, TIMERS_PER_SESSION, type SessionParts } from './shard-session.js';

export interface DatapathShardOptions {
  readonly context: ShardContext;
  /** Of this shard; a Stargate part in the shard uses the same one. */
  readonly transport: ShardTransport;
  /** New at each start of the process, the same in all its shards. */
  readonly datapathUuid: string;
  /** The Stargate of this machine, then others that are known before the metadata tells of nodes. */
  readonly targets: readonly PathTarget[];
  /** A vdisk that is served elsewhere is asked back when the local Stargate was well for so long; null or absent: never. */
  readonly failbackAfterMs?: number | null;
  /** How long a request may wait before it gets EIO; null or absent: as long as it takes. */
  readonly ioTimeoutMs?: number | null;
  /** The Stargate part of this shard, where the process has one. */
  readonly serving: VdiskServing | null;
  /** NBD listeners of this shard's engine. One shard of the process accepts, the others get their connections from it. */
  readonly listeners: readonly Slot[];
  /** Whose connections are served in TLS alone; the main thread has the TLS thread ({@link DatapathTopic.secure}). */
  readonly tlsListener?: Slot | null;
  /** Clients may come in TLS, by this listener or by one that is taken over. */
  readonly offersTls?: boolean;
  readonly acceptingShard: number;
  readonly nbdLimits?: Partial<ServerLimits>;
}

interface Mounted {
  readonly description: ExportDescription;
  readonly session: ShardSession;
  readonly nbd: VdiskExport;
  readonly placement: ConnectionPlacement;
  removing: boolean;
}

const NS_PER_MS = 1e6;
/** Tags of this client: sessions' timers by index; these for the poll of removals, and for the look at open paths. */
const POLL_TAG = 0xff_ffff;
const WATCH_TAG = 0xff_fffe;

/** The main thread knows what is known of it. */
const HELD = 'it is quarantined, or the metadata has not said yet that it is not';

/** A datapath's part in one shard: the NBD server, and a session for each vdisk that is used here. */
export class DatapathShard implements ShardPart, EngineClient {
  readonly nbd: NbdServer;
  readonly #exports = new ExportMap([], null);
  readonly #mounted = new ExportTable<Mounted>();
  /** Of these: detached, and not let go of yet. */
  readonly #removing = new Set<Mounted>();
  readonly #sessions: (ShardSession | null)[] = [];
  readonly #parts: SessionParts;
  readonly #probe: LocalProbe;
  #watching = false;
  #polling = false;
  #stopping = false;

  private constructor(private readonly options: DatapathShardOptions) {
    const { context, transport, targets, serving, nbdLimits, tlsListener = null, failbackAfterMs = null } = options;
    const { offersTls = tlsListener !== null, ioTimeoutMs = null } = options;
    const { engine, probes } = context;
    const client = engine.register(this);
    const nodes = new NodeTable(targets);
    this.#parts = {
      context,
      transport,
      nodes,
      health: new HealthTable(),
      serving,
      client,
      nothing: new Gather(1),
      failbackAfterMs,
      ioTimeoutMs,
    };
    this.#probe = new LocalProbe(transport, nodes.local);
    this.nbd = new NbdServer({
      engine,
      region: context.region,
      exports: this.#exports,
      ...(nbdLimits === undefined ? {} : { limits: nbdLimits }),
      log: (level, message, fields) => context.log.log(level, message, fields),
      probes: {
        onReceived: (requests, atOnce) => {
          probes['nbd-receive'].pass(requests, 0);
          probes['nbd-receive'].queue.record(0, atOnce);
        },
        onWaited: waitedNs => probes['nbd-receive'].queue.record(waitedNs),
        onReplied: (replies, bytes, waitedNs) => {
          probes.reply.pass(replies, bytes);
          probes.reply.queue.record(waitedNs, replies);
        },
        onSent: sendNs => probes.reply.service.record(sendNs),
      },
      onTransmission: name => this.#place(name),
      ...(!offersTls ? {} : { tls: { mode: 'forced', terminator: this.#tlsTerminator() } }),
    });
    context.onMessage(DatapathTopic.add, message => this.exportAdded(message as ExportDescription));
    context.onMessage(DatapathTopic.remove, message => this.exportRemoved(message as ExportKey));
    context.onMessage(DatapathTopic.activate, message => this.exportActivated(message as ExportKey));
    context.onMessage(DatapathTopic.resize, message => this.#resize(message as ExportResize));
    context.onMessage(DatapathTopic.nodes, message => this.#setNodes(message as readonly KnownNode[]));
    context.onMessage(DatapathTopic.group, message => this.#setGroup(message as KnownGroup));
    context.onMessage(DatapathTopic.status, message => this.#reportStatus(message as StatusRequest));
    context.onMessage(DatapathTopic.connectionMoved, message => this.#adopt(message as MovedConnection));
    context.onMessage(DatapathTopic.handOver, message => this.#handOver(message as HandOverRequest));
    context.onMessage(DatapathTopic.takeOver, message => this.#takeOver(message as ShardTaken));
    context.onMessage(DatapathTopic.connectionTaken, (message, from) => this.#mounted.get(message as ExportKey)?.placement.came(from));
    context.onMessage(DatapathTopic.connectionGone, (message, from) => this.#mounted.get(message as ExportKey)?.placement.gone(from));
    for (const listener of options.listeners) this.nbd.listen(listener, 'off');
    if (tlsListener !== null) this.nbd.listen(tlsListener, 'forced');
  }

  static start(options: DatapathShardOptions): DatapathShard {
    return new DatapathShard(options);
  }

  /** A vdisk is attached: offered under its name from here on. Its session is opened by the first connection. */
  exportAdded(description: ExportDescription): void {
    const { context, datapathUuid, acceptingShard } = this.options;
    const { vdiskId, generation, name, sizeBytes, shared, floor } = description;
    if (this.#mounted.size >= MAX_EXPORTS) throw new RangeError(`a datapath has at most ${MAX_EXPORTS} exports`);
    const identity = { vdiskId, generation, datapathUuid, shard: context.index };
    const index = this.#sessions.indexOf(null) >= 0 ? this.#sessions.indexOf(null) : this.#sessions.length;
    const session = new ShardSession(this.#parts, identity, name, floor, index * TIMERS_PER_SESSION, shared);
    this.#sessions[index] = session;
    const nbd = new VdiskExport({
      name,
      description: `vdisk ${vdiskId}`,
      sizeBytes,
      session: session.session,
      onConnectionOpened: () => this.#watch(),
      onConnectionClosed: () => this.#connectionGone({ vdiskId, generation }),
    });
    const placement = new ConnectionPlacement(context.count, acceptingShard);
    this.#exports.delete(name);
    this.#exports.add(nbd);
    this.#mounted.add({ description, session, nbd, placement, removing: false });
    context.send(MAIN, DatapathTopic.added, { vdiskId, generation } satisfies ExportKey);
  }

  /** The attachment holds the vdisk from now on. One shard sees to it, whether anybody uses the vdisk or not. */
  exportActivated(key: ExportKey): void {
    const { context, acceptingShard } = this.options;
    const { vdiskId, generation } = key;
    this.#mounted
      .get(key)
      ?.session.activate(context.index === acceptingShard, () =>
        context.send(MAIN, DatapathTopic.activated, { vdiskId, generation } satisfies ExportKey),
      );
  }

  /** Detached: no new connection; those there are end when their outstanding requests are answered, and with the last one the session. */
  exportRemoved(key: ExportKey): void {
    const mounted = this.#mounted.get(key);
    if (mounted === undefined || mounted.removing) return;
    mounted.removing = true;
    this.#removing.add(mounted);
    const { name } = mounted.description;
    if (this.#exports.find(name) === mounted.nbd) this.#exports.delete(name);
    this.nbd.disconnect(name);
    this.#finishRemovals();
  }

  /** Stops NBD first: what clients have not been answered they send again when the datapath is back. */
  close(done: () => void): void {
    this.#stopping = true;
    this.nbd.close(
      () => {
        for (const { session } of this.#mounted.values()) session.stop();
        done();
      },
      { newRequests: 'ignore', deadlineMs: STOP_NBD_MS },
    );
  }

  status(): SessionStatus[] {
    return [...this.#mounted.values()].map(({ description, session, nbd }) => {
      const { vdiskId, generation, name } = description;
      const { state, unanswered, waiting, heldBytes, counters, gapNs } = session.session;
      const { path, node, term, since } = session;
      const problem = session.isHeld ? HELD : session.problem;
      return {
        vdiskId,
        generation,
        name,
        state: state.kind,
        path: path?.kind ?? null,
        node,
        term,
        since: since.toISOString(),
        lastGapMs: Math.round(gapNs / NS_PER_MS),
        connections: nbd.connections,
        unanswered: unanswered + waiting,
        heldBytes,
        ...counters,
        problem,
      };
    });
  }

  onCompletion(tag: number): void {
    if (tag === POLL_TAG) {
      this.#polling = false;
      this.#finishRemovals();
    } else if (tag === WATCH_TAG) this.#onWatch();
    else this.#sessions[Math.floor(tag / TIMERS_PER_SESSION)]?.onTimer(tag % TIMERS_PER_SESSION);
  }

  // ---------------------------------------------------------------- nodes

  #setNodes(nodes: readonly KnownNode[]): void {
    this.#parts.nodes.setNodes(nodes);
    for (const { session } of this.#mounted.values()) session.nodesChanged();
  }

  #setGroup(group: KnownGroup): void {
    this.#parts.nodes.setGroup(group);
    for (const { session } of this.#mounted.of(group.vdiskId)) session.nodesChanged();
  }

  /** Looks at the paths now and then, while there is anybody to use them. */
  #watch(): void {
    if (this.#watching || this.#stopping) return;
    this.#watching = true;
    this.options.context.engine.timer(WATCH_INTERVAL_MS * NS_PER_MS, this.#parts.client, WATCH_TAG);
  }

  #onWatch(): void {
    this.#watching = false;
    const { nowNs } = this.options.context.engine;
    const mounted = [...this.#mounted.values()];
    this.#probe.onWatch(
      nowNs,
      mounted.some(({ session }) => session.wantsLocal),
    );
    for (const { session } of mounted) session.onWatch(nowNs, this.#probe.wellSinceNs);
    if (mounted.some(({ session, nbd }) => nbd.connections > 0 && leavesProcess(session))) this.#watch();
  }

  // ---------------------------------------------------------------- connections

  #place(name: string): 'keep' | ((moved: MovedConnection) => void) {
    const { context, serving } = this.options;
    const mounted = [...this.#mounted.values()].find(one => one.description.name === name && !one.removing);
    if (mounted === undefined) return 'keep';
    const shard = mounted.placement.choose(serving?.shardOf(mounted.description.vdiskId) ?? -1);
    return shard === context.index ? 'keep' : moved => context.send(shard, DatapathTopic.connectionMoved, moved);
  }

  #tlsTerminator(): TlsTerminator {
    const { context } = this.options;
    return {
      terminate: (clientFd, plainFd, head) => context.send(MAIN, DatapathTopic.secure, { clientFd, plainFd, head } satisfies TlsHandover),
    };
  }

  #adopt({ fd, negotiated, leftover }: MovedConnection): void {
    this.nbd.adoptNegotiated(fd, negotiated, leftover);
  }

  #connectionGone(key: ExportKey): void {
    const { context, acceptingShard } = this.options;
    if (context.index === acceptingShard) this.#mounted.get(key)?.placement.gone(context.index);
    else if (!this.#stopping) context.send(acceptingShard, DatapathTopic.connectionGone, key);
  }

  // ---------------------------------------------------------------- handing over

  /** Everything is answered when NBD has let go of it: the sessions rest, and are the next one's. */
  #handOver({ deadlineMs }: HandOverRequest): void {
    this.nbd.handOver(deadlineMs, (handed, problem) => {
      const sessions: SessionPosition[] = [];
      for (const { description, session } of handed === null ? [] : this.#mounted.values()) {
        const { vdiskId, generation } = description;
        session.rest();
        if (session.session.nextSeq > 1) sessions.push({ vdiskId, generation, nextSeq: session.session.nextSeq });
      }
      this.options.context.send(MAIN, DatapathTopic.handedOver, { handed, problem, sessions } satisfies ShardHandedOver);
    });
  }

  /** From another process, or back. Connections stay in their shard: whoever places new ones has to know of them. */
  #takeOver({ handed, sessions }: ShardTaken): void {
    for (const position of sessions) this.#mounted.get(position)?.session.session.goOnFrom(position.nextSeq);
    for (const { stage } of handed.connections) {
      if (stage.kind !== 'transmission') continue;
      const mounted = [...this.#mounted.values()].find(one => one.nbd.name === stage.negotiated.exportName && !one.removing);
      if (mounted !== undefined) this.#connectionTaken(mounted);
    }
    this.nbd.takeBack(handed);
  }

  #connectionTaken({ description: { vdiskId, generation }, placement }: Mounted): void {
    const { context, acceptingShard } = this.options;
    if (context.index === acceptingShard) placement.came(context.index);
    else context.send(acceptingShard, DatapathTopic.connectionTaken, { vdiskId, generation } satisfies ExportKey);
  }

  // ---------------------------------------------------------------- removal

  /**
   * An export goes with its last connection. Requests that wait for a path that may not come back are answered "closed" so that their connections
   * can end; those at a controller are waited for, since it may still read their payload.
   */
  #finishRemovals(): void {
    let left = false;
    for (const mounted of this.#removing) {
      const { session } = mounted.session;
      if (mounted.nbd.connections > 0 && session.state.kind !== 'open') session.detach();
      if (mounted.nbd.connections > 0) {
        left = true;
        continue;
      }
      session.detach();
      const { vdiskId, generation } = mounted.description;
      this.#removing.delete(mounted);
      this.#mounted.delete(mounted.description);
      if (this.#mounted.of(vdiskId).length === 0) this.#parts.nodes.forget(vdiskId);
      this.#sessions[this.#sessions.indexOf(mounted.session)] = null;
      this.options.context.send(MAIN, DatapathTopic.removed, { vdiskId, generation } satisfies ExportKey);
    }
    if (!left || this.#polling) return;
    this.#polling = true;
    this.options.context.engine.timer(DETACH_POLL_MS * NS_PER_MS, this.#parts.client, POLL_TAG);
  }

  #resize(key: ExportResize): void {
    const mounted = this.#mounted.get(key);
    if (mounted === undefined) return;
    mounted.nbd.sizeBytes = key.sizeBytes;
    this.nbd.exportResized(mounted.nbd.name);
    this.options.context.send(MAIN, DatapathTopic.resized, key);
  }

  #reportStatus({ request }: StatusRequest): void {
    const reply: ShardStatus = { request, sessions: this.status() };
    this.options.context.send(MAIN, DatapathTopic.statusReply, reply);
  }
}

/** A path within the process is as good as the process; without one, the next may lead elsewhere. */
function leavesProcess({ path }: ShardSession): boolean {
  return path?.kind !== 'same-shard' && path?.kind !== 'other-shard';
}
