import { errno } from 'uring-engine';
import type { World } from './world.js';

/** Longest time for which a client waits for answers that do not come. */
const MAX_STALL_NS = 8e6;

/** So much of it in each life, and nothing else. */
export interface Trouble {
  /** Connections that break, or hold answers back and then break. */
  readonly losses?: number;
  /** Another datapath takes the vdisks over, half of them while the former one goes on. */
  readonly takeovers?: number;
}

/** What goes wrong beside the end of a life, by the seed: some lives are quiet. */
export class Disturbances {
  readonly #events: { cancelled: boolean }[] = [];

  constructor(
    readonly world: World,
    readonly lifeNs: number,
    trouble: Trouble | null,
    readonly replaceDatapath: (isCrash: boolean) => void,
  ) {
    const { clock } = world;
    const { losses = 0, takeovers = 0 } = trouble ?? { losses: clock.below(9), takeovers: clock.below(5) === 0 ? 1 : 0 };
    for (let i = 0; i < losses; i++) this.#sometime(() => this.#loseConnection());
    for (let i = 0; i < takeovers; i++) this.#sometime(() => replaceDatapath(clock.below(2) === 0));
    if (trouble !== null) return;
    if (clock.below(4) === 0) this.#sometime(() => this.#pause());
    if (clock.below(5) === 0) this.#failDisk();
    if (clock.below(8) === 0) this.#sometime(() => this.#fillDisk());
    if (clock.below(8) === 0) this.#sometime(() => this.#hangDisk());
  }

  /** Nothing more goes wrong. */
  heal(): void {
    for (const event of this.#events) event.cancelled = true;
    const { disk } = this.world.node;
    disk.capacityBytes = Infinity;
    disk.faults.clear();
    for (const datapath of this.world.datapaths) datapath.isPaused = false;
  }

  #sometime(call: () => void, withinNs = this.lifeNs): void {
    const { clock } = this.world;
    this.#events.push(clock.after(clock.below(withinNs), call));
  }

  #loseConnection(): void {
    const { clients, clock } = this.world;
    const client = clients[clock.below(clients.length)];
    if (clock.below(2) === 0) client?.cut();
    else client?.stall(clock.below(MAX_STALL_NS));
  }

  /** Time for timers: the idle log's mark, drains by age. */
  #pause(): void {
    const { clock, datapaths } = this.world;
    for (const datapath of datapaths) datapath.isPaused = true;
    this.#events.push(
      clock.after(clock.below(2) === 0 ? clock.below(200e6) : clock.below(7e9), () => {
        for (const datapath of datapaths) datapath.isPaused = false;
      }),
    );
  }

  /** An I/O error; of writes and syncs it is the last thing that the process does. */
  #failDisk(): void {
    const { clock, node } = this.world;
    const stage = (['before', 'partly', 'after'] as const)[clock.below(3)]!;
    const [operation, path] = (
      [
        ['write', /\.seg$/],
        ['write', /\.ext$/],
        ['sync', /\.ext$/],
        ['allocate', /\.ext$/],
        ['read', /\.ext$/],
        ['syncDirectory', '/data/stargate/extents'],
      ] as const
    )[clock.below(6)]!;
    node.disk.faults.add({ operation, path, stage, error: errno.EIO, skip: clock.below(60) });
  }

  #fillDisk(): void {
    this.world.mayBeFull = true;
    const { clock, node } = this.world;
    node.disk.capacityBytes = node.disk.usedBytes + clock.below(64 << 10);
    this.#events.push(clock.after(clock.below(3e9), () => (node.disk.capacityBytes = Infinity)));
  }

  #hangDisk(): void {
    const { clock, node } = this.world;
    const path = clock.below(2) === 0 ? /\.seg$/ : /\.ext$/;
    node.disk.faults.add({ operation: 'any', path, error: 'hang', times: 1 + clock.below(4) });
    this.#events.push(clock.after(clock.below(2e9), () => node.disk.faults.release()));
  }
}
