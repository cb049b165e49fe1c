import { createTermFloor } from '../../src/datapath/floor.js';
import { IoOp } from '../../src/wire/path.js';
import { Client } from './client.js';
import type { Load, Vdisk } from './load.js';
import type { Wish } from './workload.js';

/** Of so many times it thinks for long, so that others come to their ends. */
const ONE_LONG_IN = 40;

/** What its guests ask for: of an attachment that is shared reads; of one that was followed by such a one, whose guests run elsewhere, what they had begun to write. */
type Asks = 'all' | 'reads' | 'changes';

/** A datapath process: sessions of every vdisk, side by side, of one attachment generation. */
export class Datapath {
  asks: Asks;
  readonly clients: Client[] = [];
  /** Nothing new is asked for. */
  isPaused = false;
  isDead = false;
  readonly #maxThinkNs: number;

  constructor(
    readonly world: Load,
    readonly generation: number,
    datapathUuid: string,
    /** Per vdisk. */
    shards: number,
    isDirect: boolean,
    readonly depth: number,
    /** Rule 18: it is let in beside the attachment that holds the vdisks, until it is told to hold them itself. */
    public isShared = false,
  ) {
    this.asks = isShared ? 'reads' : 'all';
    this.#maxThinkNs = world.pace.maxThinkNs[world.clock.below(world.pace.maxThinkNs.length)]!;
    for (const vdisk of world.vdisks) {
      const floor = createTermFloor();
      for (let shard = 0; shard < shards; shard++) {
        const identity = { vdiskId: vdisk.id, generation, datapathUuid, shard, ...(isShared && { shared: true }) };
        const client = new Client(world, vdisk, identity, floor, isDirect);
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

  /** It holds the vdisk: every open change of an attachment before this one, or of a datapath that is gone, has taken effect by now, or never will. */
  #opened(vdisk: Vdisk): void {
    if (this.isShared) return;
    for (const operation of vdisk.abandoned.splice(0)) vdisk.history.settled(operation.op);
    for (const { generation, isDead, clients } of this.world.datapaths)
      if (generation < this.generation && !isDead) for (const client of clients) if (client.vdisk === vdisk) client.settle();
  }

  #next(vdisk: Vdisk): Wish {
    for (;;) {
      const wish = vdisk.workload.next();
      if (this.asks === 'all' || (wish.op === IoOp.read) === (this.asks === 'reads')) return wish;
    }
  }

  #think(client: Client): void {
    const { clock, pace } = this.world;
    const delay = clock.below(ONE_LONG_IN) === 0 ? clock.below(pace.maxLongNs) : clock.below(this.#maxThinkNs);
    clock.after(delay, () => {
      if (this.isDead || client.isOver) return;
      if (!this.isPaused && client.outstanding.size < this.depth) client.ask(this.#next(client.vdisk));
      this.#think(client);
    });
  }
}
