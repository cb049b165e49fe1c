import { nodeOfMember } from '../../../src/wire/replicate.js';
import { MS } from './network.js';
import type { SimNode } from './node.js';
import type { ClusterWorld } from './world.js';

/** So long a node that stops waits for the others. */
const LEAVE_MS = 800;

/** Things that go wrong, one after another, each for a while. */
export class Faults {
  #isOver = false;
  #mayWipe: boolean;

  constructor(readonly world: ClusterWorld) {
    this.#mayWipe = world.clock.below(2) === 0;
    this.#next();
  }

  /** All is well from here on: networks, disks, processes. */
  heal(): void {
    const { world } = this;
    this.#isOver = true;
    world.say(() => 'everything heals');
    world.network.heal();
    for (const node of world.nodes) this.#mend(node);
  }

  #next(): void {
    const { clock } = this.world;
    clock.after(Math.ceil((20 + clock.random() * 500) * MS), () => {
      if (this.#isOver) return;
      this.#happen();
      this.#next();
    });
  }

  #happen(): void {
    const { world } = this;
    const { clock, nodes } = world;
    const node = nodes[clock.below(nodes.length)]!;
    const other = nodes[clock.below(nodes.length)]!;
    switch (clock.below(12)) {
      case 0:
      case 1:
        return this.#crash(node, 1500);
      case 2:
        return this.#crash(node, 30);
      case 3:
        if (!node.isUp) return;
        world.say(() => `${node.id} is paused`);
        node.pause();
        return this.#later(1500, () => node.resume());
      case 4:
        return this.#cut(node.index, other.index, clock.below(2) === 0);
      case 5:
        world.say(() => `${node.id} is alone`);
        return nodes.forEach(one => this.#cut(node.index, one.index, true));
      case 6:
        return this.#cut(node.index, nodes.length, false);
      case 7:
        // The answers of the metadata store alone: what is asked happens.
        return this.#cut(nodes.length, node.index, false);
      case 8:
        return this.#wipe(node);
      case 9:
        if (clock.below(2) === 0) node.isHung = true;
        else node.step({ kind: 'ioFailed' });
        world.say(() => `${node.id}: its disk ${node.isHung ? 'hangs' : 'fails'}`);
        return this.#later(1000, () => this.#restart(node));
      case 10:
        return this.#leave(node);
      default:
        return world.takeOver(world.pick(world.holders));
    }
  }

  #later(maxMs: number, run: () => void): void {
    const { clock } = this.world;
    clock.after(Math.ceil(clock.random() * maxMs * MS), () => {
      if (!this.#isOver) run();
    });
  }

  #crash(node: SimNode, downMs: number): void {
    if (!node.isUp) return;
    this.world.counters.crashes++;
    node.crash();
    this.#tellClosed(node);
    this.#later(downMs, () => this.#mend(node));
  }

  /** A planned stop: it leaves its group first, as far as the others let it in time. */
  #leave(node: SimNode): void {
    const { world } = this;
    if (!node.isUp || node.isPaused) return;
    const { boots } = node;
    const untilNs = world.clock.nowNs + LEAVE_MS * MS;
    world.say(() => `${node.id} is about to stop`);
    node.step({ kind: 'leave' });
    const look = (): void => {
      if (this.#isOver || node.boots !== boots || !node.isUp) return;
      const { departure } = node.replica!;
      if (departure.isUnderWay && world.clock.nowNs < untilNs) return void world.clock.after(5 * MS, look);
      if (departure.isOut) world.counters.left++;
      this.#crash(node, 1500);
    };
    look();
  }

  /** Its connections close, and those who can hear of it do. */
  #tellClosed({ id }: SimNode): void {
    const { nodes, clock } = this.world;
    for (const one of nodes)
      if (one.isUp && !one.isPaused && clock.below(2) === 0) one.step({ kind: 'nodeClosed', node: nodeOfMember(id) });
  }

  #restart(node: SimNode): void {
    if (node.isUp) this.#crash(node, 500);
  }

  #cut(from: number, to: number, bothWays: boolean): void {
    const { network } = this.world;
    if (from === to) return;
    this.world.say(() => `cut: ${from} ${bothWays ? '<' : ''}-> ${to}`);
    const set = (isBlocked: boolean): void => {
      network.block(from, to, isBlocked);
      if (bothWays) network.block(to, from, isBlocked);
    };
    set(true);
    this.#later(2000, () => set(false));
  }

  /** Once, and not where nobody would be left: what a group lost with its only replica is lost. */
  #wipe(node: SimNode): void {
    const { world } = this;
    const others = world.members.filter(one => one !== node && one.isUp);
    if (!this.#mayWipe || !world.group.members.includes(node.id) || others.length < 1) return;
    this.#mayWipe = false;
    world.counters.wiped++;
    node.wipe(world.options.mutant === 'amnesiacKept');
    this.#later(500, () => this.#mend(node));
  }

  #mend(node: SimNode): void {
    node.resume();
    node.isHung = false;
    // Nor does one that was about to stop go on.
    if (node.replica?.member.isWorking === false || node.replica?.departure.isLeaving === true) node.crash();
    if (!node.isUp) node.start(this.world.mutations);
  }
}
