import type { TermFloor } from '../../src/datapath/session.js';
import { Client } from './client.js';
import type { Vdisk, World } from './world.js';

/** Longest time between two things that a client asks for: of hasty and of slow ones. */
const MAX_THINK_NS = [40_000, 150_000, 600_000];
/** Of so many times it thinks for long, so that others come to their ends. */
const ONE_LONG_IN = 40;
const MAX_LONG_NS = 8_000_000;

/** A datapath process: sessions of every vdisk, side by side, of one attachment generation. */
export class Datapath {
  readonly clients: Client[] = [];
  /** Nothing new is asked for. */
  isPaused = false;
  isDead = false;
  readonly #maxThinkNs: number;

  constructor(
    readonly world: World,
    generation: number,
    datapathUuid: string,
    /** Per vdisk. */
    shards: number,
    isDirect: boolean,
    readonly depth: number,
  ) {
    this.#maxThinkNs = MAX_THINK_NS[world.clock.below(MAX_THINK_NS.length)]!;
    for (const vdisk of world.vdisks) {
      const floor = termFloor();
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
    const { clock } = this.world;
    const delay = clock.below(ONE_LONG_IN) === 0 ? clock.below(MAX_LONG_NS) : clock.below(this.#maxThinkNs);
    clock.after(delay, () => {
      if (this.isDead || client.isOver) return;
      if (!this.isPaused && client.outstanding.size < this.depth) client.ask(client.vdisk.workload.next());
      this.#think(client);
    });
  }
}

function termFloor(): TermFloor {
  let floor = 0;
  return { current: () => floor, raise: term => void (floor = Math.max(floor, term)) };
}
