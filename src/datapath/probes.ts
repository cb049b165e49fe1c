import { createSessionProbes, Probe, SESSION_PROBES, type Probes, type ProbeSnapshot, type SessionProbes } from '../base/probe.js';
import { DATAPATH_HOPS, type ExportKey, type SessionProbesOpened } from './messages.js';

/** By hop. */
export type DatapathHops<T> = Readonly<Record<(typeof DATAPATH_HOPS)[number], T>>;

/** Of one vdisk, over the shards; see {@link SessionProbes}. */
export interface VdiskProbes {
  readonly vdiskId: string;
  readonly probes: Readonly<Record<keyof SessionProbes, ProbeSnapshot>>;
}

/** What the shards of a datapath write down, as the main thread reads it: in memory that they share, so that nobody is asked. */
export class DatapathProbes {
  /** By vdiskId/generation, then by shard. */
  readonly #open = new Map<string, { readonly vdiskId: string; readonly byShard: Map<number, SessionProbes> }>();
  /** By shard: what sessions have done that are no more. */
  readonly #ended = new Map<number, { readonly session: Probe; readonly path: Probe }>();

  constructor(private readonly shards: { probes(shard: number): Probes }) {}

  opened({ vdiskId, generation, memory }: SessionProbesOpened, shard: number): void {
    const key = `${vdiskId}/${generation}`;
    const one = this.#open.get(key) ?? { vdiskId, byShard: new Map<number, SessionProbes>() };
    this.#open.set(key, one);
    one.byShard.set(shard, createSessionProbes(memory));
  }

  /** The shard's session has ended: its counts stay among those of the shard. */
  closed({ vdiskId, generation }: ExportKey, shard: number): void {
    const key = `${vdiskId}/${generation}`;
    const one = this.#open.get(key);
    const probes = one?.byShard.get(shard);
    if (one === undefined || probes === undefined) return;
    const ended = this.#ended.get(shard) ?? { session: new Probe(), path: new Probe() };
    this.#ended.set(shard, ended);
    addAll(ended, probes);
    one.byShard.delete(shard);
    if (one.byShard.size === 0) this.#open.delete(key);
  }

  hops<T>(shard: number, of: (probe: Probe) => T): DatapathHops<T> {
    const all = { session: new Probe(), path: new Probe() };
    const ended = this.#ended.get(shard);
    if (ended !== undefined) {
      all.session.add(ended.session);
      all.path.add(ended.path);
    }
    for (const { byShard } of this.#open.values()) {
      const probes = byShard.get(shard);
      if (probes !== undefined) addAll(all, probes);
    }
    const probes = { ...this.shards.probes(shard), ...all };
    return Object.fromEntries(DATAPATH_HOPS.map(hop => [hop, of(probes[hop])])) as unknown as DatapathHops<T>;
  }

  vdisks(): VdiskProbes[] {
    const byVdisk = new Map<string, SessionProbes>();
    for (const { vdiskId, byShard } of this.#open.values()) {
      const all = byVdisk.get(vdiskId) ?? createSessionProbes();
      byVdisk.set(vdiskId, all);
      for (const probes of byShard.values()) for (const name of SESSION_PROBES) all[name].add(probes[name]);
    }
    return [...byVdisk].map(([vdiskId, all]) => {
      const probes = Object.fromEntries(SESSION_PROBES.map(name => [name, all[name].snapshot()])) as unknown as VdiskProbes['probes'];
      return { vdiskId, probes };
    });
  }
}

function addAll({ session, path }: { readonly session: Probe; readonly path: Probe }, probes: SessionProbes): void {
  for (const name of SESSION_PROBES) (name === 'path' ? path : session).add(probes[name]);
}
