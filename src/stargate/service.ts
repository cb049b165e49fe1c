import { MAIN, type ShardContext } from '../shard/context.js';
import type { PeerIdentity } from '../wire/peer-open.js';
import type { ShardPart } from '../shard/run.js';
import { TransferBuffers, transferBufferBytes } from './cache/transfer-buffers.js';
import { makeCache } from './cache/cache-region.js';
import type { UnifiedCache } from './cache/unified-cache.js';
import { MAX_CONTROL_BYTES } from './core/controller.js';
import { BLOCK_BYTES } from './core/ports.js';
import { ExtentStore, LayerRemoval } from './extents/index.js';
import {
  StargateTopic,
  type BadBlock,
  type CommandReply,
  type CommandRequest,
  type CreatedReply,
  type RecoveryProgress,
  type ServeRequest,
  type ServingReport,
  type StargateStatus,
  type StatusRequest,
  type UsageReply,
  type VdiskDescription,
  type VdiskSpace,
} from './messages.js';
import { OPLOG_MEMORY_BYTES } from './oplog/index.js';
import { Delays } from './runtime/delays.js';
import { DRAIN_LIMITS, REMOVE_RETRY_NS, TRANSFER_BUFFERS } from './runtime/limits.js';
import { groupPorts, groupRegionBytes, replicaStatus, type Peers } from './replicas.js';
import { NodePart } from './runtime/node-part.js';
import { openBlockStore, type StoreConnection } from './store/index.js';
import { DISK_FULL, DISK_SPACE_BACK, segmentMended } from './runtime/disk-events.js';

/** Plain data from the main thread. `store.port` has to be transferred along. */
export interface StargateShardSettings {
  readonly nodeId: string;
  /** DIR/stargate: holds `oplog/`, `extents/`, `store/`. */
  readonly directory: string;
  readonly streams: number;
  readonly oplogBytesPerStream: number;
  readonly cacheBytesPerShard: number;
  /** Of this shard; 0: its extents are not scrubbed. */
  readonly scrubBytesPerSecond: number;
  readonly store: StoreConnection;
  /** A copy that its group has no place for is removed after this time. */
  readonly keepSurplusMs: number;
  /** Who this node is among others; null: it is alone. */
  readonly self: PeerIdentity | null;
  /** Which start of the node this is. */
  readonly boot: number;
}

/** Arena bytes that a shard's Stargate part takes of its region, beside the cache. */
export function stargateRegionBytes(streamsPerShard: number): number {
  const scratch = MAX_CONTROL_BYTES + 3 * BLOCK_BYTES + groupRegionBytes();
  return scratch + streamsPerShard * OPLOG_MEMORY_BYTES + transferBufferBytes(TRANSFER_BUFFERS) + (1 << 20);
}

/** A Stargate's part in one shard: puts the mechanisms together and answers the main thread. */
export class StargateShard implements ShardPart {
  readonly node: NodePart;
  readonly #cache: UnifiedCache;

  constructor(
    readonly context: ShardContext,
    readonly settings: StargateShardSettings,
    /** Opens the links to other nodes. */
    peers: Peers,
  ) {
    const { engine, region, index, count, probes } = context;
    const { directory, nodeId, streams } = settings;
    const store = openBlockStore(settings.store, engine);
    store.onMended((layer, segment) => context.events.emit(segmentMended(store.vdiskOf(layer), segment)));
    const zeroBlock = region.take(BLOCK_BYTES);
    engine.arena.bytes.fill(0, zeroBlock, zeroBlock + BLOCK_BYTES);
    const controlScratch = region.take(MAX_CONTROL_BYTES);
    const extents = new ExtentStore(engine, `${directory}/extents`, region.take(BLOCK_BYTES));
    const buffers = new TransferBuffers(region.take(transferBufferBytes(TRANSFER_BUFFERS)), TRANSFER_BUFFERS);
    const oplogMemory = Array.from({ length: streams }, (_, stream) => (stream % count === index ? region.take(OPLOG_MEMORY_BYTES) : -1));
    this.#cache = makeCache(region, settings.cacheBytesPerShard);
    const delays = new Delays(engine);
    const again = (call: () => void): void => delays.after(REMOVE_RETRY_NS, call);
    const removal = new LayerRemoval(store, extents, message => context.log.log('error', message), again, context.events);
    this.node = new NodePart({
      engine,
      ports: {
        arena: engine.arena,
        extents,
        store,
        cache: this.#cache,
        buffers,
        zeroBlock,
        controlScratch,
        drains: DRAIN_LIMITS,
        probes,
        clock: engine,
      },
      removal,
      nodeId,
      shard: index,
      shards: count,
      streams,
      ...(settings.self === null
        ? {}
        : { group: groupPorts(context, { ...settings.self, shards: count, streams }, settings, peers, () => this.node.groups!) }),
      oplog: stream => ({
        memoryOffset: oplogMemory[stream]!,
        directory: `${directory}/oplog/stream-${stream}`,
        probe: probes.oplog,
        capacityBytes: settings.oplogBytesPerStream,
        onProgress: (readBytes, totalBytes) =>
          context.send(MAIN, StargateTopic.progress, { stream, readBytes, totalBytes } satisfies RecoveryProgress),
      }),
      onServing: () => context.send(MAIN, StargateTopic.serving, this.#servingReport()),
      onFatal: message => context.send(MAIN, StargateTopic.fatal, message),
      onSized: sized => context.send(MAIN, StargateTopic.sized, sized),
      scrubBytesPerSecond: settings.scrubBytesPerSecond,
      onDiskFull: isFull => context.events.emit(isFull ? DISK_FULL : DISK_SPACE_BACK),
      onBadBlock: (vdiskId, offsetBytes, errno, lengthBytes) =>
        context.send(MAIN, StargateTopic.badBlock, { vdiskId, offsetBytes, errno, lengthBytes } satisfies BadBlock),
    });
    if (index === 0) removal.resume(store.deletingLayers());
    context.onMessage(StargateTopic.serve, message => this.node.serve((message as ServeRequest).vdisks, (message as ServeRequest).refused));
    context.send(MAIN, StargateTopic.recovered, this.node.damaged());
    context.onMessage(StargateTopic.create, message => {
      const description = message as VdiskDescription;
      const { vdiskId } = description;
      this.node.create(description, problem => context.send(MAIN, StargateTopic.created, { vdiskId, problem } satisfies CreatedReply));
    });
    context.onMessage(StargateTopic.remove, message => {
      const { vdiskId } = message as { vdiskId: string };
      this.node.remove(vdiskId, () => context.send(MAIN, StargateTopic.removed, { vdiskId }));
    });
    context.onMessage(StargateTopic.space, message => this.node.setSpace(message as readonly VdiskSpace[]));
    context.onMessage(StargateTopic.usage, message => {
      const { request } = message as { request: number };
      context.send(MAIN, StargateTopic.usageReply, { request, vdisks: this.node.usage() } satisfies UsageReply);
    });
    context.onMessage(StargateTopic.command, message => {
      const { request, vdiskId, command } = message as CommandRequest;
      this.node.command(vdiskId, command, answer =>
        context.send(MAIN, StargateTopic.commandReply, { request, answer } satisfies CommandReply),
      );
    });
    context.onMessage(StargateTopic.scrub, message => this.node.scrubber.setRate(message as number));
    context.onMessage(StargateTopic.leave, () => this.node.leave(() => context.send(MAIN, StargateTopic.left, null)));
    context.onMessage(StargateTopic.status, message =>
      context.send(MAIN, StargateTopic.statusReply, this.#status(message as StatusRequest)),
    );
  }

  close(done: () => void): void {
    this.node.stop(done);
  }

  #servingReport(): ServingReport {
    return {
      problems: this.node.problems,
      streams: this.node.streams.map(({ number, report: { clean, entries, bytes, tornBytes } }) => ({
        stream: number,
        clean,
        entries,
        bytes,
        tornBytes,
      })),
    };
  }

  #status({ request, vdiskId }: StatusRequest): StargateStatus {
    const { streams, problems, options, groups } = this.node;
    const served = only(this.node.served, vdiskId);
    return {
      request,
      replicas: groups === null ? [] : replicaStatus(only(groups.all, vdiskId).values()),
      vdisks: [...served].map(([vdiskId, { controller }]) => ({
        vdiskId,
        allocatedBytes: options.ports.store.allocatedBytes(controller.state.layer),
        logBytes: controller.index.writtenBlocks * BLOCK_BYTES,
        lastSeq: controller.lastSeq,
        drainedSeq: controller.state.drainedSeq,
        sessions: controller.sessions.size,
      })),
      problems,
      rot: { ...this.node.rot },
      scrub: this.node.scrubber.progress,
      removing: options.removal.layersLeft,
      removingBytes: options.removal.bytesLeft,
      oplog: streams.map(({ number, log: { usage } }) => ({
        stream: number,
        usedBytes: usage.usedBytes,
        capacityBytes: usage.capacityBytes,
      })),
      cache: this.#cache.statistics(),
    };
  }
}

/** Of all of them, that one; all, where none is named. */
function only<T>(all: ReadonlyMap<string, T>, vdiskId: string | undefined): ReadonlyMap<string, T> {
  if (vdiskId === undefined) return all;
  const one = all.get(vdiskId);
  return new Map(one === undefined ? [] : [[vdiskId, one]]);
}
