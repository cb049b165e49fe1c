import { NbdReplyError, type NbdClient } from '../../support/nbd/client.js';
import { ConnectionLost } from '../../support/nbd/stream.js';
import type { Random } from '../../support/random.js';
import { History } from './history.js';
import { fillUnit, readUnit } from './unit.js';

/** A part of the export that the load owns, in units of 4096 or 512 bytes. */
export class Region {
  readonly history: History;

  constructor(
    readonly offsetBytes: number,
    readonly unitBytes: 512 | 4096,
    readonly units: number,
    /** The first units of the region get half of all operations, so that writes overlap in flight. */
    readonly hotUnits: number,
    readonly salt: number,
  ) {
    this.history = new History(units);
  }

  byteOffset(unit: number): number {
    return this.offsetBytes + unit * this.unitBytes;
  }
}

export interface LoadOptions {
  readonly connect: () => Promise<NbdClient>;
  readonly regions: readonly Region[];
  readonly random: Random;
  readonly connections?: number;
  /** Requests in flight on each connection. */
  readonly queueDepth?: number;
  readonly maxUnitsPerWrite?: number;
  /** Neither flushes nor FUA: every acknowledgement must be durable by itself, with nothing that makes it so by the way. */
  readonly noFlush?: boolean;
  /** An error of a write that is no fault: its outcome is unknown then. */
  readonly isExpected?: (error: NbdReplyError) => boolean;
}

export interface LoadCounts {
  acknowledgedWrites: number;
  acknowledgedBytes: number;
  reads: number;
  /** Writes without an answer when their connection was lost. */
  unanswered: number;
  /** Writes that were answered with an error that was expected. */
  refused: number;
}

const READ_SHARE = 0.15;
const ZERO_SHARE = 0.05;
const FUA_SHARE = 0.1;
const FLUSH_SHARE = 0.01;
/** Faults kept: the first ones tell the story. */
const FAULT_LIMIT = 20;
const VERIFY_BYTES = 256 * 1024;
const VERIFY_DEPTH = 8;

/**
 * Writes, zeroes, reads and flushes with self-describing units over several connections, and knows what was acknowledged.
 * Ends when told to, or when the server is gone.
 */
export class VerifiedLoad {
  readonly counts: LoadCounts = { acknowledgedWrites: 0, acknowledgedBytes: 0, reads: 0, unanswered: 0, refused: 0 };
  /** Wrong data and error replies, in words. Losing the connection is no fault here: the test decides. */
  readonly faults: string[] = [];
  /** Connections that ended without our doing. */
  lostConnections = 0;
  readonly #options: LoadOptions;
  readonly #clients: NbdClient[] = [];
  #stopping = false;
  #workers: Promise<void>[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { connections = 4, queueDepth = 8 } = this.#options;
    for (let index = 0; index < connections; index++) this.#clients.push(await this.#options.connect());
    for (const client of this.#clients) {
      for (let slot = 0; slot < queueDepth; slot++) this.#workers.push(this.#work(client));
    }
  }

  /** Resolves when every worker has ended: after `stop()`, or when all connections are lost. */
  async ended(): Promise<void> {
    await Promise.all(this.#workers);
    this.lostConnections = this.#clients.filter(client => client.isLost).length;
  }

  /** Lets what is in flight finish, then disconnects. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.ended();
    for (const client of this.#clients) await client.disconnect();
  }

  async #work(client: NbdClient): Promise<void> {
    while (!this.#stopping && this.faults.length < FAULT_LIMIT) {
      try {
        await this.#step(client);
      } catch (error) {
        if (error instanceof ConnectionLost) return;
        if (!(error instanceof NbdReplyError)) throw error;
        if (this.#options.isExpected?.(error) === true) this.counts.refused++;
        else this.#fault(error.message);
      }
    }
  }

  async #step(client: NbdClient): Promise<void> {
    const { random, regions } = this.#options;
    const region = regions[random.below(regions.length)]!;
    const units = random.next() < 0.7 ? 1 : random.between(1, this.#options.maxUnitsPerWrite ?? 16);
    const span = random.next() < 0.5 ? region.hotUnits : region.units;
    const first = random.below(Math.max(1, span - units));
    const kind = random.next();
    if (kind < READ_SHARE) await this.#read(client, region, first, units);
    else if (kind < READ_SHARE + FLUSH_SHARE && this.#options.noFlush !== true) await client.flush();
    else await this.#write(client, region, first, units, kind > 1 - ZERO_SHARE);
  }

  async #write(client: NbdClient, region: Region, first: number, units: number, zero: boolean): Promise<void> {
    const record = region.history.send(first, units, zero);
    const offset = region.byteOffset(first);
    const length = units * region.unitBytes;
    try {
      if (zero) await client.writeZeroes(offset, length);
      else await client.write(offset, payload(region, first, units, record.seq), { fua: this.#useFua() });
    } catch (error) {
      if (error instanceof ConnectionLost) this.counts.unanswered++;
      throw error;
    }
    region.history.acknowledge(record);
    this.counts.acknowledgedWrites++;
    this.counts.acknowledgedBytes += length;
  }

  async #read(client: NbdClient, region: Region, first: number, units: number): Promise<void> {
    const expectation = region.history.sendRead(first, units);
    try {
      const data = await client.read(region.byteOffset(first), units * region.unitBytes);
      this.counts.reads++;
      for (let index = 0; index < units; index++) {
        const content = readUnit(unitOf(data, region, index), region.salt);
        const fault = region.history.checkRead(expectation, first + index, content);
        if (fault !== undefined) this.#fault(`read during the load: ${fault}`);
      }
    } finally {
      region.history.endRead(expectation);
    }
  }

  #useFua(): boolean {
    return this.#options.noFlush !== true && this.#options.random.next() < FUA_SHARE;
  }

  #fault(text: string): void {
    if (this.faults.length < FAULT_LIMIT) this.faults.push(text);
  }
}

/**
 * Reads whole regions and compares with what was acknowledged; gives the faults.
 * With `settle` what was seen becomes what the units hold: right after a crash, when no write can be under way any more.
 */
export async function verifyRegions(client: NbdClient, regions: readonly Region[], settle: boolean): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const region of regions) {
    const chunkUnits = VERIFY_BYTES / region.unitBytes;
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < region.units) {
        const first = next;
        const units = Math.min(chunkUnits, region.units - first);
        next += units;
        const data = await client.read(region.byteOffset(first), units * region.unitBytes);
        for (let index = 0; index < units; index++) {
          const content = readUnit(unitOf(data, region, index), region.salt);
          const fault = region.history.check(first + index, content);
          if (fault === undefined) {
            if (settle) region.history.settle(first + index, content);
          } else if (faults.length < FAULT_LIMIT) {
            faults.push(`at byte ${region.byteOffset(first + index)}: ${fault}`);
          }
        }
      }
    };
    await Promise.all(Array.from({ length: VERIFY_DEPTH }, worker));
  }
  return faults;
}

function payload(region: Region, first: number, units: number, seq: number): Buffer {
  const data = Buffer.allocUnsafe(units * region.unitBytes);
  for (let index = 0; index < units; index++) fillUnit(unitOf(data, region, index), first + index, seq, region.salt);
  return data;
}

function unitOf(data: Buffer, region: Region, index: number): Buffer {
  return data.subarray(index * region.unitBytes, (index + 1) * region.unitBytes);
}
