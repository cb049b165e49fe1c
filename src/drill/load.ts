import { BLOCK_BYTES, DRAIN_STALL_MS, HOT_SHARE, MAX_DESCRIBED, READ_SHARE, RECONNECT_MS } from './limits.js';
import { MAX_READ_BYTES, NbdConnection, payloadOf, requestBuffer, type ConnectionOwner } from '../nbd-client/connection.js';
import { Kind, Operations, Outcome } from './operations.js';
import { DAMAGED } from './checker.js';
import { describeDamage, fillBlock, readBlock } from './payload.js';
import { whileItGoesOn, type Progress } from './patience.js';
import type { Random } from './random.js';

export interface LoadOptions {
  readonly nbdSocket: string;
  readonly exportName: string;
  readonly connections: number;
  /** Further connections that only read: nothing that waits for other nodes holds them up, so they hear of a controller that has been superseded as long as they are answered. */
  readonly readers: number;
  readonly queueDepth: number;
  readonly hotBlocks: number;
  readonly wideBlocks: number;
  /** The last of the wide ones: each is written once, where it holds nothing yet, and only read from then on. So there is data that grows old on the disks. */
  readonly coldBlocks: number;
  readonly random: Random;
  /** The endpoint dies with the fault: a lost connection is no failure, and what it left unanswered is settled when the next one stands. */
  readonly endpointDies: boolean;
  /** An error that the fault explains (ENOSPC on a full disk). */
  readonly isExpectedError?: (errorCode: number) => boolean;
}

/** Something that happened to the client beside the answers. */
export interface ClientEvent {
  readonly atMs: number;
  readonly what: string;
}

/** One request at a time, again and again, on one connection. */
interface Slot {
  readonly number: number;
  readonly connection: number;
  readonly request: Buffer;
  /** Index of its operation; -1: idle. */
  operation: number;
}

/**
 * The load of one round: a fixed number of requests outstanding on each connection, unique writes and reads of single blocks, most of them to a few hot
 * blocks, everything recorded. A connection that is lost is opened again until the load is stopped.
 */
export class Load {
  readonly operations: Operations;
  /** When each answer came: in order. */
  completions = new Float64Array(1 << 16);
  completed = 0;
  errors = 0;
  /** Errors that the fault explains. */
  refused = 0;
  disconnects = 0;
  readonly errorEvents: ClientEvent[] = [];
  readonly disconnectEvents: ClientEvent[] = [];
  readonly #links: Link[];
  readonly #slots: Slot[];
  /** Cold blocks that are still to be written. */
  readonly #unwritten: number[] = [];
  #stopping = false;
  #outstanding = 0;

  constructor(
    readonly options: LoadOptions,
    firstOperation: number,
    /** What each block holds. */
    content: Float64Array,
  ) {
    this.operations = new Operations(firstOperation);
    const { queueDepth } = options;
    for (let block = this.#firstCold; block < options.wideBlocks; block++) if (content[block] === 0) this.#unwritten.push(block);
    const connections = options.connections + options.readers;
    this.#slots = Array.from({ length: connections * queueDepth }, (_, number) => ({
      number,
      connection: number % connections,
      request: requestBuffer(BLOCK_BYTES),
      operation: -1,
    }));
    this.#links = Array.from({ length: connections }, (_, number) => new Link(this, number));
  }

  /** Resolves when all connections stand and have begun. */
  async start(): Promise<void> {
    await Promise.all(this.#links.map(link => link.open()));
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  /** Lets what is outstanding come to its end and closes. Gives how many requests never did. */
  async stop(stallMs = DRAIN_STALL_MS): Promise<number> {
    this.#stopping = true;
    const look = (): Progress => ({ isDone: this.#outstanding === 0, text: `${this.#outstanding} unanswered` });
    await whileItGoesOn('the last requests', look, stallMs).catch(() => undefined);
    for (const link of this.#links) link.close();
    return this.#outstanding;
  }

  connected(connection: number): void {
    for (const slot of this.#slots) {
      if (slot.connection !== connection) continue;
      if (slot.operation >= 0) this.#giveUp(slot);
      if (!this.#stopping) this.#step(slot);
    }
  }

  answered(slotNumber: number, errorCode: number, data: Buffer | null): void {
    const slot = this.#slots[slotNumber]!;
    const { operations } = this;
    const index = slot.operation;
    const nowMs = performance.now();
    if (errorCode !== 0) this.#failed(index, errorCode, nowMs);
    else {
      if (data !== null) this.#note(index, data, 0);
      operations.end(index, Outcome.done, nowMs);
      // Bounds are about those who write, too.
      if (!this.#onlyReads(slot)) this.#complete(nowMs);
    }
    slot.operation = -1;
    this.#ended();
    if (!this.#stopping) this.#step(slot);
  }

  lost(connection: number, why: string): void {
    const nowMs = performance.now();
    this.disconnects++;
    if (this.disconnectEvents.length < MAX_DESCRIBED) this.disconnectEvents.push({ atMs: nowMs, what: `connection ${connection}: ${why}` });
    for (const slot of this.#slots) {
      if (slot.connection === connection && slot.operation >= 0) this.operations.end(slot.operation, Outcome.unknown, nowMs);
    }
  }

  get #firstCold(): number {
    return this.options.wideBlocks - this.options.coldBlocks;
  }

  #onlyReads(slot: Slot): boolean {
    return slot.connection >= this.options.connections;
  }

  #step(slot: Slot): void {
    const { random, hotBlocks, wideBlocks } = this.options;
    const onlyReads = this.#onlyReads(slot);
    const unwritten = onlyReads ? undefined : this.#unwritten.pop();
    const block = unwritten ?? random.below(random.next() < HOT_SHARE ? hotBlocks : wideBlocks);
    const reads = onlyReads || block >= this.#firstCold || random.next() < READ_SHARE;
    const kind = reads && unwritten === undefined ? Kind.read : Kind.write;
    const { operations } = this;
    const index = operations.begin(kind, block, slot.connection, performance.now());
    slot.operation = index;
    this.#outstanding++;
    const link = this.#links[slot.connection]!.nbd!;
    if (kind === Kind.read) return link.read(slot.request, slot.number, block * BLOCK_BYTES, BLOCK_BYTES);
    fillBlock(payloadOf(slot.request), operations.first + index, block);
    link.write(slot.request, slot.number, block * BLOCK_BYTES);
  }

  /** What was outstanding on a connection that is no more: whoever could still apply it is dead, if it was the endpoint that died. */
  #giveUp(slot: Slot): void {
    if (this.options.endpointDies) this.operations.end(slot.operation, Outcome.settled, performance.now());
    slot.operation = -1;
    this.#ended();
  }

  #failed(index: number, errorCode: number, nowMs: number): void {
    this.operations.end(index, Outcome.failed, nowMs);
    if (this.options.isExpectedError?.(errorCode) === true) {
      this.refused++;
      return this.#complete(nowMs);
    }
    this.errors++;
    const { kinds, blocks, first } = this.operations;
    const what = `#${first + index} ${kinds[index] === Kind.read ? 'read' : 'write'} of block ${blocks[index]}: NBD error ${errorCode}`;
    if (this.errorEvents.length < MAX_DESCRIBED) this.errorEvents.push({ atMs: nowMs, what });
  }

  #note(index: number, data: Buffer, at: number): void {
    const { operations } = this;
    const block = operations.blocks[index]!;
    const value = readBlock(data, at, block);
    operations.values[index] = value;
    if (value === DAMAGED && operations.damages.size < MAX_DESCRIBED) operations.damages.set(index, describeDamage(data, at, block));
  }

  #complete(nowMs: number): void {
    if (this.completed === this.completions.length) {
      const grown = new Float64Array(this.completed * 2);
      grown.set(this.completions);
      this.completions = grown;
    }
    this.completions[this.completed++] = nowMs;
  }

  #ended(): void {
    this.#outstanding--;
  }

  /** After the load has stopped: reads every block, as part of the same history. Gives what each holds. */
  async readAll(): Promise<Float64Array> {
    const { nbdSocket, exportName, wideBlocks, queueDepth } = this.options;
    const content = new Float64Array(wideBlocks);
    const perRead = MAX_READ_BYTES / BLOCK_BYTES;
    const firsts = Array.from({ length: Math.ceil(wideBlocks / perRead) }, (_, i) => i * perRead);
    const { operations } = this;
    await readPieces({
      nbdSocket,
      exportName,
      queueDepth,
      pieces: firsts.map(first => ({ block: first, blocks: Math.min(perRead, wideBlocks - first) })),
      begin: ({ block, blocks }) =>
        Array.from({ length: blocks }, (_, i) => operations.begin(Kind.read, block + i, this.#links.length, performance.now())),
      end: (indexes, data) => {
        const nowMs = performance.now();
        indexes.forEach((index, i) => {
          this.#note(index, data, i * BLOCK_BYTES);
          operations.end(index, Outcome.done, nowMs);
          content[operations.blocks[index]!] = operations.values[index]!;
        });
      },
    });
    return content;
  }
}

/** A connection that comes back. */
class Link implements ConnectionOwner {
  nbd: NbdConnection | null = null;
  #closed = false;

  constructor(
    readonly load: Load,
    readonly number: number,
  ) {}

  async open(): Promise<void> {
    const { nbdSocket, exportName } = this.load.options;
    while (!this.#closed) {
      try {
        const nbd = await NbdConnection.open(nbdSocket, exportName, this);
        if (this.#closed) return nbd.close();
        this.nbd = nbd;
        return this.load.connected(this.number);
      } catch {
        // Not there yet; a load that stays without one is found stuck.
        await new Promise(resolve => setTimeout(resolve, RECONNECT_MS));
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.nbd?.close();
  }

  answered(cookie: number, errorCode: number, data: Buffer | null): void {
    this.load.answered(cookie, errorCode, data);
  }

  lost(why: string): void {
    this.nbd = null;
    if (this.#closed) return;
    this.load.lost(this.number, why);
    void this.open();
  }
}

interface Piece {
  readonly block: number;
  readonly blocks: number;
}

interface ReadPieces {
  readonly nbdSocket: string;
  readonly exportName: string;
  readonly queueDepth: number;
  readonly pieces: readonly Piece[];
  readonly begin: (piece: Piece) => number[];
  readonly end: (indexes: number[], data: Buffer) => void;
}

/** Reads all pieces over a connection of its own. Rejects with what went wrong. */
function readPieces({ nbdSocket, exportName, queueDepth, pieces, begin, end }: ReadPieces): Promise<void> {
  return new Promise((resolve, reject) => {
    let next = 0;
    let left = pieces.length;
    const reads = new Map<number, number[]>();
    const fail = (why: string): void => reject(new Error(`the last read of all blocks: ${why}`));
    const timer = setTimeout(() => fail(`no answer for ${DRAIN_STALL_MS} ms`), DRAIN_STALL_MS);
    const owner: ConnectionOwner = {
      answered: (cookie, errorCode, data) => {
        if (data === null) return fail(`NBD error ${errorCode} at block ${pieces[cookie]!.block}`);
        end(reads.get(cookie)!, data);
        timer.refresh();
        if (--left === 0) {
          clearTimeout(timer);
          connection?.close();
          resolve();
        } else send();
      },
      lost: fail,
    };
    let connection: NbdConnection | undefined;
    const send = (): void => {
      const cookie = next++;
      const piece = pieces[cookie];
      if (piece === undefined) return;
      reads.set(cookie, begin(piece));
      connection!.read(requestBuffer(BLOCK_BYTES), cookie, piece.block * BLOCK_BYTES, piece.blocks * BLOCK_BYTES);
    };
    NbdConnection.open(nbdSocket, exportName, owner).then(
      opened => {
        connection = opened;
        for (let i = 0; i < queueDepth; i++) send();
      },
      (error: Error) => fail(error.message),
    );
  });
}
