import type { Cluster } from './cluster.js';
import { cpuSecondsOf, machineSeconds } from './processes.js';

/** Seconds on a processor in one round. */
export interface CpuUse {
  readonly wallSeconds: number;
  /** Of all processors together: everybody's work, and none. */
  readonly busySeconds: number;
  readonly idleSeconds: number;
  /** Of each process, from its own start if it began in the round; of one that ended, up to the last look. */
  readonly processes: Readonly<Record<string, number>>;
}

const LOOK_MS = 200;

/** Who has used the processors: the bounds are missed for want of them more often than for anything else. */
export class CpuAccount {
  readonly #startMs = performance.now();
  readonly #machine = machineSeconds();
  readonly #first = new Map<string, { name: string; seconds: number }>();
  readonly #last = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #started = false;

  constructor(readonly cluster: Cluster) {
    this.#look();
    this.#started = true;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  stop(): CpuUse {
    clearInterval(this.#timer);
    this.#look();
    const { busy, idle } = machineSeconds();
    const processes: Record<string, number> = {};
    for (const [key, { name, seconds }] of this.#first) {
      processes[name] = round((processes[name] ?? 0) + this.#last.get(key)! - seconds);
    }
    return {
      wallSeconds: round((performance.now() - this.#startMs) / 1_000),
      busySeconds: round(busy - this.#machine.busy),
      idleSeconds: round(idle - this.#machine.idle),
      processes,
    };
  }

  #look(): void {
    const { nodes, etcd, datapath } = this.cluster.file;
    this.#note('drill', process.pid);
    for (const node of nodes) this.#note(node.id, node.pid);
    if (!nodes.some(node => node.pid === datapath.pid)) this.#note('datapath', datapath.pid);
    etcd.forEach(({ pid }, i) => this.#note(`etcd-${i + 1}`, pid));
  }

  #note(name: string, pid: number): void {
    const seconds = cpuSecondsOf(pid);
    if (seconds === null) return;
    const key = `${name}/${pid}`;
    if (!this.#first.has(key)) this.#first.set(key, { name, seconds: this.#started ? 0 : seconds });
    this.#last.set(key, seconds);
  }
}

const round = (seconds: number): number => Math.round(seconds * 100) / 100;
