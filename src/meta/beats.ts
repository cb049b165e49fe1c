import { setTimeout as delay } from 'node:timers/promises';
import { GatepathError } from '../base/errors.js';
import type { Logger } from '../base/log.js';
import { beatRecord, keys, nodeRecord, type BeatRecord } from './model.js';
import { parse } from './records.js';
import type { MetadataStore } from './store.js';

export interface NodeBeatsOptions {
  readonly store: MetadataStore;
  readonly self: Pick<BeatRecord, 'id' | 'storeUuid' | 'incarnation'>;
  readonly space: () => Pick<BeatRecord, 'freeBytes' | 'totalBytes'>;
  readonly log: Logger;
  readonly intervalMs?: number;
}

const INTERVAL_MS = 1_000;
/** At the start the others are found sooner: a beat is news only when it has changed once. */
const FIRST_INTERVAL_MS = 150;
const FIRST_BEATS = 8;
/** Intervals without a new beat after which a node counts as gone. */
const MISSED = 4;

/** A stop does not wait longer for a metadata store that is silent. */
const GOODBYE_TIMEOUT_MS = 1_000;

interface Heard {
  readonly record: BeatRecord;
  /** When it changed last, by this process's own clock; null: not since it was first seen. */
  readonly changedAtMs: number | null;
}

/**
 * Says that this node lives, and hears which others do: records in the metadata store that change. What is known here is as old as a few
 * seconds: for placement and for people. Whether a controller or member answers is found out by asking it.
 */
export class NodeBeats {
  readonly #heard = new Map<string, Heard>();
  readonly #intervalMs: number;
  #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | null = null;
  #beat = 0;
  #exchangedAtMs = 0;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(private readonly options: NodeBeatsOptions) {
    this.#intervalMs = options.intervalMs ?? INTERVAL_MS;
    this.#next();
  }

  /** This node first. */
  living(): BeatRecord[] {
    // While the metadata store is silent nobody is heard of, and so nobody is declared gone.
    const sinceMs = this.#exchangedAtMs - MISSED * this.#intervalMs;
    const others = [...this.#heard.values()].filter(({ changedAtMs }) => changedAtMs !== null && changedAtMs >= sinceMs);
    return [this.#own(), ...others.map(({ record }) => record)];
  }

  /** Resolves when so many nodes live, or after `timeoutMs`. */
  async whenLiving(count: number, timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (this.living().length < count && performance.now() < endMs && !this.#closed) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, endMs - performance.now());
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** The others know at once that this node is gone, where the metadata store answers. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#ring();
    const { store, self } = this.options;
    const told = this.#running.then(() => store.transaction([], [{ remove: keys.beat(self.id) }])).catch(() => undefined);
    await Promise.race([told, delay(GOODBYE_TIMEOUT_MS, undefined, { ref: false })]);
  }

  #next(): void {
    this.#running = this.#exchange()
      .catch((error: unknown) => this.options.log.log('debug', 'the other nodes are not heard of', { error: String(error) }))
      .then(() => {
        if (this.#closed) return;
        const delayMs = this.#beat < FIRST_BEATS ? Math.min(FIRST_INTERVAL_MS, this.#intervalMs) : this.#intervalMs;
        this.#timer = setTimeout(() => this.#next(), delayMs);
      });
  }

  async #exchange(): Promise<void> {
    const { store, self } = this.options;
    this.#beat++;
    await store.transaction([], [{ put: keys.beat(self.id), value: this.#own() }]);
    const { items } = await store.range(keys.beats);
    this.#exchangedAtMs = performance.now();
    const records = items.flatMap(({ value }) => beatRecord.safeParse(value).data ?? []).filter(({ id }) => id !== self.id);
    const present = new Set(records.map(({ id }) => id));
    for (const id of this.#heard.keys()) if (!present.has(id)) this.#heard.delete(id);
    for (const record of records) {
      const before = this.#heard.get(record.id);
      const isNews = before !== undefined && !isSameBeat(before.record, record);
      this.#heard.set(record.id, { record, changedAtMs: isNews ? this.#exchangedAtMs : (before?.changedAtMs ?? null) });
    }
    this.#ring();
  }

  #own(): BeatRecord {
    return { ...this.options.self, beat: this.#beat, ...this.options.space() };
  }

  #ring(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

const isSameBeat = (a: BeatRecord, b: BeatRecord): boolean =>
  a.beat === b.beat && a.storeUuid === b.storeUuid && a.incarnation === b.incarnation;

export interface Claim {
  readonly id: string;
  readonly storeUuid: string;
}

/**
 * Throws GatepathError ERR_NODE_TAKEN where a node with this id and another data directory lives: a new directory would otherwise be taken for its emptied one,
 * and get its name while it still runs.
 */
export async function refuseTaken(store: MetadataStore, { id, storeUuid }: Claim, intervalMs = INTERVAL_MS): Promise<void> {
  const found = await store.get(keys.node(id));
  if (found === null || parse(nodeRecord, found).storeUuid === storeUuid) return;
  const first = await store.get(keys.beat(id));
  if (first === null) return;
  const endMs = performance.now() + MISSED * intervalMs;
  while (performance.now() < endMs) {
    await delay(intervalMs / 2);
    const now = await store.get(keys.beat(id));
    if (now === null) return;
    if (now.version === first.version) continue;
    const message = `a node with the id "${id}" is running, with another data directory`;
    throw new GatepathError(
      'invalid',
      'ERR_NODE_TAKEN',
      message,
      'give this node another id ("node" in its configuration), or stop that one first',
    );
  }
}
