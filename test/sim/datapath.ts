import { createTermFloor } from '../../src/datapath/floor.js';
import { Client } from './client.js';
import type { Load, Vdisk } from './load.js';

/** Of so many times it thinks for long, so that others come to their ends. */
const ONE_LONG_IN = 40;

/** A datapath process: sessions of every vdisk, side by side, of one attachment generation. */
export class Datapath {
  readonly clients: Client[] = [];
  /** Nothing new is asked for. */
  isPaused = false;
  isDead = false;
  readonly #maxThinkNs: number;

  constructor(
    readonly world: Load,
    generation: number,
    datapathUuid: string,
    /** Per vdisk. */
    shards: number,
    isDirect: boolean,
    readonly depth: number,
  ) {
    this.#maxThinkNs = world.pace.maxThinkNs[world.clock.below(world.pace.maxThinkNs.length)]!;
    for (const vdisk of world.vdisks) {
      const floor = createTermFloor();
      for (let shard = 0; shard < shards; shard++) {
        const client = new Client(world, vdisk, { vdiskId: vdisk.id, generation, datapathUuid, shard }, floor, isDirect);
        client.onOpened = () => this.#opened(vdisk);
        this.clients.push(client);
        this.#think(client);
      }
    }
  }

  /** The process ends without a word. */
  die(): void {
    if (this.isDead) return;
    this.isDead = true;
    for (const client of this.clients) for (const operation of client.die()) this.world.abandoned(client.vdisk, operation);
  }

  get outstanding(): number {
    return this.clients.reduce((sum, client) => sum + client.outstanding.size, 0);
  }

  /** Every open change of a datapath before this one has taken effect by now, or never will. */
  #opened(vdisk: Vdisk): void {
    for (const operation of vdisk.abandoned.splice(0)) vdisk.history.settled(operation.op);
  }

  #think(client: Client): void {
    const { clock, pace } = this.world;
    const delay = clock.below(ONE_LONG_IN) === 0 ? clock.below(pace.maxLongNs) : clock.below(this.#maxThinkNs);
    clock.after(delay, () => {
      if (this.isDead || client.isOver) return;
      if (!this.isPaused && client.outstanding.size < this.depth) client.ask(client.vdisk.workload.next());
      this.#think(client);
    });
  }
}
