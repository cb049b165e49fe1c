import type { VdiskView } from '../control/schemas.js';
import { sleep, type Cluster } from './cluster.js';
import { HEALTH_POLL_MS } from './limits.js';

/** Something that was done to the system, or that it did. */
export interface Mark {
  readonly atMs: number;
  readonly kind: 'fault' | 'heal' | 'state';
  readonly what: string;
}

/** Looks at the vdisk's state all the time, and notes each change. */
export class Watch {
  readonly marks: Mark[] = [];
  trustsHealth = true;
  #view: VdiskView | null = null;
  #seen = '';
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(
    readonly cluster: Cluster,
    readonly vdisk: string,
    /** How many copies there have to be. */
    readonly copies: number,
  ) {}

  /** Resolves with the first look. */
  async start(): Promise<void> {
    await this.look();
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** The state in words. */
  get text(): string {
    return this.#seen;
  }

  /** The state in words, and how far copies are: as long as it changes, something goes on. */
  get progress(): string {
    const copied = this.#view?.resyncing;
    return copied == null ? this.#seen : `${this.#seen}; copying ${JSON.stringify(copied)}`;
  }

  get view(): VdiskView | null {
    return this.#view;
  }

  /** As far as the record of the members tells; and by the vdisk's health, unless that has shown not to tell. */
  get isRedundant(): boolean {
    if (this.#view === null || this.#view.members.length < this.copies) return false;
    return this.#view.health === 'healthy' || !this.trustsHealth;
  }

  mark(kind: Mark['kind'], what: string): number {
    const atMs = performance.now();
    this.marks.push({ atMs, kind, what });
    return atMs;
  }

  async look(): Promise<void> {
    this.#view = await this.cluster.look(this.vdisk);
    const text = describe(this.#view);
    if (text === this.#seen) return;
    this.#seen = text;
    this.mark('state', text);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await sleep(HEALTH_POLL_MS);
      await this.look();
    }
  }
}

function describe(view: VdiskView | null): string {
  if (view === null) return 'no node answers';
  const problem = view.problem === null ? '' : `: ${view.problem}`;
  return `${view.health}${problem}; controller ${view.controller ?? '-'}, members ${view.members.join(' ')}, epoch ${view.epoch}, term ${view.term}`;
}
