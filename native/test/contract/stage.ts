import { ArenaRegion } from '../../src/buffers.js';
import type { Engine, Slot, SocketAddress } from '../../src/engine.js';
import { Gather } from '../../src/gather.js';
import type { World } from './world.js';

/** What a scenario waits for: one completion. */
export class Operation {
  result: number | null = null;
  /** Place among all completions of the stage. */
  order = -1;
  turn = -1;
  onDone: ((result: number) => void) | null = null;

  constructor(readonly what: string) {}
}

/** Yields operations, each when it wants the result; runs within the engine's turns. */
export type Scenario = Generator<Operation, void, number>;

const DEADLINE_NS = 20e9;
const SETTLE_NS = 20e6;
/** Tags of the timers that begin a scenario and that end one which is stuck. */
const START = 0;
const LATE = 1;

/** Operations of one engine by what they are, for scenarios to wait on. */
export class Stage {
  readonly engine: Engine;
  readonly region: ArenaRegion;
  readonly bytes: Uint8Array;
  turns = 0;
  /** What is to be looked at when the engine has stopped. */
  readonly whenOver: Promise<unknown>[] = [];
  #completed = 0;
  readonly #operations: Operation[] = [];
  readonly client: number;
  readonly #driver: number;
  #running: Scenario | null = null;
  #failure: Error | null = null;

  constructor(readonly world: World) {
    this.engine = world.engine;
    this.region = new ArenaRegion(this.engine.arena);
    this.bytes = this.engine.arena.bytes;
    this.client = this.engine.register({ onCompletion: (tag, result) => this.#onCompletion(tag, result) });
    this.#driver = this.engine.register({
      onCompletion: tag => (tag === START ? this.#go(0) : this.#end(new Error(`stuck, waiting for: ${this.pending.join(', ')}`))),
    });
    this.engine.atTurnEnd(1_000, () => this.turns++);
  }

  /** Enqueues something with a tag of its own. */
  op(what: string, enqueue: (client: number, tag: number) => void): Operation {
    const operation = new Operation(what);
    enqueue(this.client, this.#operations.length);
    this.#operations.push(operation);
    return operation;
  }

  read(slot: Slot, offset: number, lengthBytes: number, at: number): Operation {
    return this.op('read', (client, tag) => this.engine.read(slot, offset, lengthBytes, at, client, tag));
  }

  write(slot: Slot, offset: number, lengthBytes: number, at: number, flags = 0): Operation {
    return this.op('write', (client, tag) => this.engine.write(slot, offset, lengthBytes, at, flags, client, tag));
  }

  sync(slot: Slot): Operation {
    return this.op('sync', (client, tag) => this.engine.sync(slot, client, tag));
  }

  allocate(slot: Slot, mode: number, at: number, lengthBytes: number): Operation {
    return this.op('allocate', (client, tag) => this.engine.allocate(slot, mode, at, lengthBytes, client, tag));
  }

  recv(slot: Slot, offset: number, lengthBytes: number, flags = 0): Operation {
    return this.op('recv', (client, tag) => this.engine.recv(slot, offset, lengthBytes, flags, client, tag));
  }

  send(slot: Slot, ...ranges: readonly (readonly [offset: number, lengthBytes: number])[]): Operation {
    return this.sendAll(slot, gatherOf(ranges));
  }

  sendAll(slot: Slot, gather: Gather, flags = 0): Operation {
    return this.op('send', (client, tag) => this.engine.send(slot, gather, flags, client, tag));
  }

  accept(listener: Slot): Operation {
    return this.op('accept', (client, tag) => this.engine.accept(listener, client, tag));
  }

  connect(address: SocketAddress): Operation {
    return this.op('connect', (client, tag) => this.engine.connect(address, client, tag));
  }

  close(slot: Slot): Operation {
    return this.op('close', (client, tag) => this.engine.close(slot, client, tag));
  }

  delay(delayNs: number): Operation {
    return this.op('timer', (client, tag) => void this.engine.timer(delayNs, client, tag));
  }

  /** Long enough for what would happen by itself to have happened. */
  settle(): Operation {
    return this.delay(SETTLE_NS);
  }

  *all(operations: readonly Operation[]): Generator<Operation, number[], number> {
    const results: number[] = [];
    for (const operation of operations) results.push(yield operation);
    return results;
  }

  /** Both ends of a connection to a listener. */
  *pair(listener: Slot): Generator<Operation, [client: Slot, server: Slot], number> {
    const accepted = this.accept(listener);
    const client = yield this.connect(this.engine.localAddress(listener));
    const server = yield accepted;
    if (client < 0 || server < 0) throw new Error(`no connection: connect ${client}, accept ${server}`);
    return [client, server];
  }

  /** Puts bytes that depend on the place and the seed into the arena. */
  fill(offset: number, lengthBytes: number, seed: number): void {
    this.bytes.set(pattern(lengthBytes, seed), offset);
  }

  get pending(): string[] {
    return this.#operations.filter(one => one.result === null).map(one => one.what);
  }

  #onCompletion(tag: number, result: number): void {
    const operation = this.#operations[tag]!;
    if (operation.result !== null) throw new Error(`${operation.what} completed twice: ${operation.result}, ${result}`);
    operation.result = result;
    operation.order = this.#completed++;
    operation.turn = this.turns;
    operation.onDone?.(result);
  }

  /** Runs the scenario from the first turn on; rejects with what it throws, or where it gets stuck. May be called again. */
  async play(scenario: (stage: Stage) => Scenario): Promise<void> {
    this.#running = scenario(this);
    this.#failure = null;
    this.engine.timer(0, this.#driver, START);
    const late = this.engine.timer(DEADLINE_NS, this.#driver, LATE);
    await this.engine.run();
    this.engine.cancelTimer(late);
    const failure = this.#outcome();
    if (failure !== null) throw failure;
    await Promise.all(this.whenOver);
  }

  readonly #go = (value: number): void => {
    const running = this.#running;
    if (running === null) return;
    try {
      let step = running.next(value);
      while (step.done !== true && step.value.result !== null) step = running.next(step.value.result);
      if (step.done === true) this.#end(null);
      else step.value.onDone = this.#go;
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  };

  #outcome(): Error | null {
    return this.#failure;
  }

  #end(failure: Error | null): void {
    if (this.#running === null) return;
    this.#failure = failure;
    this.#running = null;
    this.engine.stop();
  }
}

/** Plays one scenario in a world of its own. */
export async function play(make: () => World, scenario: (stage: Stage) => Scenario): Promise<void> {
  const world = make();
  try {
    await new Stage(world).play(scenario);
  } finally {
    world.close();
  }
}

export function gatherOf(ranges: readonly (readonly [offset: number, lengthBytes: number])[]): Gather {
  const gather = new Gather();
  for (const [offset, lengthBytes] of ranges) gather.add(offset, lengthBytes);
  return gather;
}

export function pattern(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + seed * 101) & 0xff;
  return bytes;
}

/** Whether two pieces of memory are the same, without a report of a million bytes. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return 'nothing thrown';
}
