import { Gather } from 'uring-engine';
import { silentEvents } from '../../../src/base/events.js';
import { silentLogger } from '../../../src/base/log.js';
import { NodeTable } from '../../../src/datapath/nodes.js';
import { DatapathTopic, type Accusation } from '../../../src/datapath/messages.js';
import { HealthTable } from '../../../src/datapath/paths.js';
import { ShardSession, type SessionParts } from '../../../src/datapath/shard-session.js';
import type { PathAttempt, PathListener } from '../../../src/transport/path-listener.js';
import { nodeOfMember } from '../../../src/wire/replicate.js';
import type { SessionRequest } from '../../../src/wire/serving.js';
import type { Client, ClientPaths } from '../client.js';
import { Link } from '../link.js';
import type { Cluster } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import { MAX_PEER_NS, PATH_SILENT_NS, TOPOLOGY_NS, WATCH_NS } from './limits.js';

/** What the sessions of one datapath process know in common, on the machine of one of the nodes. */
export class Home {
  readonly nodes: NodeTable;
  readonly health = new HealthTable();
  readonly sessions: ClusterPath[] = [];
  isDead = false;

  constructor(
    readonly cluster: Cluster,
    /** Its number: what reaches that node reaches the datapath. Beyond those of nodes: a machine of its own. */
    readonly at: number,
  ) {
    this.nodes = new NodeTable([{ kind: 'unix', socketPath: `node-${Math.min(at, cluster.nodes.length)}` }]);
    this.#look();
  }

  #look(): void {
    const { cluster, nodes, at } = this;
    cluster.metadata.read(at, groups => {
      if (this.isDead) return;
      if (groups !== null) {
        nodes.setNodes(
          cluster.nodes.map(({ nodeId: id, number }) => ({ id, target: { kind: 'unix', socketPath: id }, isLocal: number === at })),
        );
        for (const [vdiskId, { epoch, controller, members }] of groups)
          nodes.setGroup({ vdiskId, epoch, controller: nodeOfMember(controller), members: members.map(nodeOfMember) });
        for (const one of this.sessions) one.enter(() => one.shard.nodesChanged());
      }
      cluster.clock.after(TOPOLOGY_NS, () => this.isDead || this.#look());
    });
  }
}

/** The production session with its choice of a node; connections are the simulation's. */
export class ClusterPath implements ClientPaths {
  readonly shard: ShardSession;
  /** Those that are open or being opened. */
  readonly #links = new Map<Link, { readonly node: ClusterNode; clearNs: number }>();

  constructor(
    readonly client: Client,
    readonly home: Home,
    floor: SharedArrayBuffer,
  ) {
    const { clock } = home.cluster;
    const timers = new Map<number, () => void>();
    let nextTimer = 1;
    const engine = {
      get nowNs() {
        return clock.nowNs;
      },
      timer: (delayNs: number, _client: number, tag: number): number => {
        const id = nextTimer++;
        const event = clock.after(delayNs, () => {
          timers.delete(id);
          if (!client.isDead) this.shard.onTimer(tag);
        });
        timers.set(id, () => clock.cancel(event));
        return id;
      },
      cancelTimer: (id: number): void => timers.get(id)?.(),
    };
    const send = (_to: number, topic: string, message: unknown): void => {
      if (topic === (DatapathTopic.accused as string)) home.cluster.quarantines.accused(message as Accusation, floor);
    };
    // Of a shard's context a session uses no more than this.
    const parts = {
      context: { index: 0, engine, send, log: silentLogger, events: silentEvents },
      transport: { unix: { open: this.#open.bind(this), closeSession: () => undefined } },
      nodes: home.nodes,
      health: home.health,
      serving: null,
      client: 0,
      nothing: new Gather(1),
      failbackAfterMs: null,
    } as unknown as SessionParts;
    const { shared = false, ...identity } = client.identity;
    this.shard = new ShardSession(parts, identity, 'vdisk', floor, 0, shared);
    home.sessions.push(this);
    this.#watch();
  }

  get session(): ShardSession['session'] {
    return this.shard.session;
  }

  enter(call: () => void): void {
    if (!this.client.isDead) call();
  }

  /** As if the other end had closed them. */
  cut(): void {
    const { cluster } = this.home;
    for (const [link, { node }] of [...this.#links]) {
      cluster.watcher.brokenTo(node, this.client.identity.vdiskId);
      link.cut(cluster.lossOfDead);
    }
  }

  stall(forNs: number): void {
    for (const link of this.#links.keys()) link.stall(forNs);
  }

  /** Of a process that ends, the system closes connections. */
  close(): void {
    for (const link of this.#links.keys()) link.close();
    this.home.isDead = true;
  }

  #open(socketPath: string, session: SessionRequest, listener: PathListener): PathAttempt {
    const { client, home } = this;
    const { cluster, at } = home;
    const { clock, network, memory } = cluster;
    const node = cluster.node(Number(socketPath.slice('node-'.length)));
    const askedNs = clock.nowNs;
    const alive = (call: () => void): void => {
      if (!client.isDead) call();
    };
    if (node.part === null && network.isWhole(at, node.number)) {
      let isWanted = true;
      clock.after(1 + clock.below(MAX_PEER_NS), () => alive(() => isWanted && listener.onEnded('lost', 'nobody listens')));
      return { abandon: () => (isWanted = false) };
    }
    const ended = (call: () => void): void =>
      alive(() => {
        this.#links.delete(link);
        call();
      });
    const link: Link = new Link(
      clock,
      memory,
      node,
      session,
      {
        onOpened: (path, opened) =>
          alive(() => {
            const sizes = cluster.sizes.get(client.vdisk)!;
            if (!sizes.mayHaveBeen(opened.sizeBytes, askedNs))
              cluster.complaints.push(
                `vdisk ${client.vdisk.index}: size: a session is opened in term ${opened.term}, with a size of ${opened.sizeBytes} bytes`,
              );
            const { counters, state } = this.session;
            const before = counters.replayed;
            listener.onOpened(path, opened);
            if (state.kind !== 'open' && this.session.state.kind === 'open') client.opened(opened.term, counters.replayed - before);
          }),
        onRefused: (reason, message, hint) => ended(() => listener.onRefused(reason, message, hint)),
        onEnded: (reason, hint) =>
          ended(() => {
            client.lost();
            listener.onEnded(reason, reason, hint);
          }),
      },
      network.wire(at, node.number),
      network.wire(node.number, at),
    );
    node.links.add(link);
    this.#links.set(link, { node, clearNs: clock.nowNs });
    return { abandon: () => link.close() };
  }

  /** Connections that say nothing are given up. */
  #watch(): void {
    const { cluster, at } = this.home;
    const { clock, network } = cluster;
    clock.after(WATCH_NS, () => {
      if (this.client.isDead) return;
      this.shard.onWatch(clock.nowNs, null);
      for (const [link, one] of [...this.#links]) {
        if (!link.isOpen) this.#links.delete(link);
        else if (network.isWhole(at, one.node.number) && !one.node.isPaused && one.node.part !== null) one.clearNs = clock.nowNs;
        else if (clock.nowNs - one.clearNs > PATH_SILENT_NS) link.cut();
      }
      this.#watch();
    });
  }
}
