import type { ShardTransport } from '../transport/shard-transport.js';
import { PROBE_INTERVAL_MS } from './limits.js';
import { streamOf } from './path-open.js';
import type { PathTarget } from './paths.js';

/** Whether the Stargate of this machine is well, for sessions that would come back to it. Asked only while somebody wants to know. */
export class LocalProbe {
  /** null: it does not answer, or nobody has asked. */
  wellSinceNs: number | null = null;
  #askedNs = -Infinity;
  #asking = false;

  constructor(
    private readonly transport: ShardTransport,
    private readonly local: PathTarget,
  ) {}

  onWatch(nowNs: number, wanted: boolean): void {
    if (!wanted) {
      this.wellSinceNs = null;
      return;
    }
    if (this.local.kind === 'in-process') {
      this.wellSinceNs ??= nowNs;
      return;
    }
    if (this.#asking || nowNs - this.#askedNs < PROBE_INTERVAL_MS * 1e6) return;
    this.#asking = true;
    this.#askedNs = nowNs;
    this.transport.unix.probe(streamOf(this.local), answers => {
      this.#asking = false;
      // Well from when it was asked: it may have come back only then.
      this.wellSinceNs = answers ? (this.wellSinceNs ?? this.#askedNs) : null;
    });
  }
}
