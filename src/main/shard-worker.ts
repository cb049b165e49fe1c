import { parentPort } from 'node:worker_threads';
import type { ServerLimits } from 'nbd-server-ts';
import type { Slot } from 'uring-engine';
import { DatapathShard } from '../datapath/service.js';
import type { PathTarget } from '../datapath/paths.js';
import { CODE_LOADED } from '../shard/context.js';
import type { ShardTask } from '../shard/pool.js';
import { runShard, type EngineChoice, type ShardPart } from '../shard/run.js';
import { StargateShard, type StargateShardSettings } from '../stargate/service.js';
import { ShardTransport } from '../transport/shard-transport.js';
import type { VdiskServing } from '../wire/serving.js';
import { SOFTWARE } from './version.js';

/** What one shard of a process mounts. Both: the datapath reaches the Stargate without leaving the process. */
export interface WorkerSettings {
  readonly engine: EngineChoice;
  /** Connections over TCP are made by the TLS thread. */
  readonly tls?: boolean;
  readonly stargate: StargateSettings | null;
  readonly datapath: {
    readonly datapathUuid: string;
    /** Null: what it listens at comes from the process before it. */
    readonly nbdSocket: string | null;
    readonly targets: readonly PathTarget[];
    readonly failbackAfterMs?: number | null;
    readonly ioTimeoutMs?: number | null;
    readonly nbdLimits?: Partial<ServerLimits>;
    /** NBD over TCP, in TLS alone. */
    readonly nbdTcp?: { readonly host: string; readonly port: number } | null;
    /** There is a thread for it. */
    readonly nbdTls?: boolean;
  } | null;
}

export type StargateSettings = StargateShardSettings & { readonly socketPath: string; readonly tcp: TcpListening | null };

export interface TcpListening {
  /** A numeric address. */
  readonly host: string;
  readonly port: number;
  /** `host:port` at which others reach it. */
  readonly advertised: string;
  /** The process's TLS thread listens, not a shard. */
  readonly tls?: boolean;
}

/** The shard that accepts connections; those of others move on from there. */
export const ACCEPTING_SHARD = 0;

export default function run(task: ShardTask): Promise<void> {
  const settings = task.settings as WorkerSettings;
  return runShard(task, settings.engine, context => {
    const transport = new ShardTransport({ context, software: SOFTWARE, tls: settings.tls ?? false });
    const accepts = context.index === ACCEPTING_SHARD;
    const listen = (path: string): Slot | null => (accepts ? context.engine.listen({ family: 'unix', path }, { mode: 0o660 }) : null);
    const parts: ShardPart[] = [];
    let serving: VdiskServing | null = null;
    if (settings.stargate !== null) {
      const stargate = new StargateShard(context, settings.stargate, (listener, self) => transport.peers(listener, self));
      serving = stargate.node;
      const { socketPath, tcp } = settings.stargate;
      const server = transport.serve(serving, listen(socketPath));
      if (tcp !== null && tcp.tls !== true && accepts)
        server.listenAt(context.engine.listen({ family: 'tcp', host: tcp.host, port: tcp.port }));
      parts.push(stargate);
    }
    parts.unshift(transport);
    if (settings.datapath !== null) {
      const {
        datapathUuid,
        nbdSocket,
        targets,
        failbackAfterMs = null,
        ioTimeoutMs = null,
        nbdLimits = {},
        nbdTcp = null,
        nbdTls = false,
      } = settings.datapath;
      const listener = nbdSocket === null ? null : listen(nbdSocket);
      const listeners = listener === null ? [] : [listener];
      const tlsListener =
        accepts && nbdTcp !== null ? context.engine.listen({ family: 'tcp', host: nbdTcp.host, port: nbdTcp.port }) : null;
      parts.unshift(
        DatapathShard.start({
          context,
          transport,
          datapathUuid,
          targets,
          failbackAfterMs,
          ioTimeoutMs,
          serving,
          listeners,
          tlsListener,
          offersTls: nbdTls,
          nbdLimits,
          acceptingShard: ACCEPTING_SHARD,
        }),
      );
    }
    return parts;
  });
}

// Of its own turn: whoever loads this has work left when it has been evaluated.
setImmediate(() => parentPort?.postMessage(CODE_LOADED));
