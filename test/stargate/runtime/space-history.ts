import { createArena } from 'uring-engine';
import { FaultyDisk, FaultyEngine, VirtualClock } from 'uring-engine/faulty';
import { BLOCK_BYTES, BlockState } from '../../../src/stargate/core/ports.js';
import { verifyStargateRecords, VERIFY_STARGATE_SCRATCH_BYTES } from '../../../src/stargate/runtime/verify.js';
import { ChunkTable, decodeChunk, placeSeed } from '../../../src/stargate/store/chunk.js';
import { KeyKind, parseKey } from '../../../src/stargate/store/format.js';
import { readerOf, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoOp, type PathRequest } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { VdiskAnswer } from '../../../src/wire/vdisk-command.js';
import { delay, describeVdisk, Rig, TestSession, VDISK, type Scenario, type Step } from './rig.js';

/** Two vdisks, one container. */
export const VDISKS = [VDISK, '7b1f4c02-93de-4b3c-8f7c-2f5f0a6b9d11'] as const;
/** Long enough for the drain of what was written last, and the HEAD behind it. */
const REST_NS = 12e9;
const DIRECTORY = '/node';

/** Which blocks of a vdisk have data: what it takes, to the block. */
export class DataBlocks {
  readonly #data = new Set<number>();

  constructor(public sizeBytes: number) {}

  get bytes(): number {
    return this.#data.size * BLOCK_BYTES;
  }

  change(op: IoOp, offsetBytes: number, lengthBytes: number): void {
    const [first, end] = [Math.floor(offsetBytes / BLOCK_BYTES), Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES)];
    const [firstWhole, endWhole] = [Math.ceil(offsetBytes / BLOCK_BYTES), Math.floor((offsetBytes + lengthBytes) / BLOCK_BYTES)];
    if (op === IoOp.write) return this.#add(first, end);
    this.#remove(firstWhole, endWhole);
    // The ends of what is zeroed are written; of what is trimmed they are left alone.
    if (op !== IoOp.zero) return;
    if (first < firstWhole) this.#data.add(first);
    if (endWhole < end) this.#data.add(endWhole);
  }

  resize(sizeBytes: number): void {
    this.sizeBytes = sizeBytes;
    this.#remove(sizeBytes / BLOCK_BYTES, Infinity);
  }

  #add(from: number, to: number): void {
    for (let block = from; block < to; block++) this.#data.add(block);
  }

  #remove(from: number, to: number): void {
    for (const block of this.#data) if (block >= from && block < to) this.#data.delete(block);
  }
}

interface Change {
  readonly op: IoOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** One of the vdisks, as its client knows it. */
class Client {
  readonly data: DataBlocks;
  session!: TestSession;
  nextSeq = 1;
  /** Its limit, as bytes that it uses. */
  mostBytes = Infinity;
  /** Sent when the node's life ended: it is sent again. */
  unanswered: (Change & { readonly clientSeq: number }) | null = null;

  constructor(
    readonly vdiskId: string,
    sizeBytes: number,
  ) {
    this.data = new DataBlocks(sizeBytes);
  }

  send({ op, offsetBytes, lengthBytes }: Change, clientSeq: number, onReply: (request: PathRequest) => void): void {
    const { rig, path } = this.session;
    const request = this.session.request(op, offsetBytes, lengthBytes, clientSeq, onReply);
    if (op === IoOp.write) {
      rig.arena.bytes.fill(clientSeq | 1, rig.scratch, rig.scratch + lengthBytes);
      request.payload.add(rig.scratch, lengthBytes);
    }
    path.submit(request);
  }
}

/**
 * Lives of a node with two vdisks, in virtual time, over a disk that loses power. The production parts count what the vdisks take; this counts it too: from what was asked, and from the
 * records of the block store.
 */
export class SpaceHistory {
  readonly clock: VirtualClock;
  readonly disk: FaultyDisk;
  readonly storeDisk = new SimulatedStoreDisk();
  readonly clients: readonly Client[];
  #rig!: Rig;
  #term = 0;

  constructor(
    seed: number,
    /** As the metadata have it, which never hear of a resize: a start goes by the log. */
    readonly sizeBytes: number,
  ) {
    this.clock = new VirtualClock(seed);
    this.disk = new FaultyDisk({ random: this.clock.random });
    this.#givenDirectories();
    this.clients = VDISKS.map(vdiskId => new Client(vdiskId, sizeBytes));
  }

  /** As whoever makes a data directory leaves it. */
  #givenDirectories(): void {
    const { files } = new FaultyEngine(verifyArena, this.clock, this.disk);
    for (const path of [DIRECTORY, `${DIRECTORY}/oplog`]) files.makeDirectory(path);
    for (const path of ['/', DIRECTORY]) files.syncDirectory(path);
    this.disk.killAll();
  }

  /** One life; it ends without a word unless the scenario has stopped it. */
  async live(scenario: () => Scenario): Promise<void> {
    const term = ++this.#term;
    const vdisks = this.clients.map(({ vdiskId }) => describeVdisk(term, this.sizeBytes, vdiskId));
    const rig = (this.#rig = new Rig(arena => new FaultyEngine(arena, this.clock, this.disk), DIRECTORY, this.storeDisk, vdisks));
    const begin = this.#begin.bind(this);
    await rig.run(function* (): Scenario {
      yield rig.serving;
      yield* begin();
      yield* scenario();
    });
    rig.store.crash();
    this.disk.killAll();
  }

  *#begin(): Scenario {
    for (const [which, client] of this.clients.entries()) {
      const { sizeBytes } = this.#controller(which).state;
      if (sizeBytes !== client.data.sizeBytes)
        throw new Error(`vdisk ${which} has ${sizeBytes} bytes, it was made ${client.data.sizeBytes}`);
      const opened = yield this.#rig.open(1, 'a', 0, client.vdiskId);
      if (!(opened instanceof TestSession)) throw new Error(`a session was refused: ${String(opened)}`);
      client.session = opened;
      client.mostBytes = Infinity;
      const { unanswered } = client;
      client.unanswered = null;
      opened.lowWater = unanswered?.clientSeq ?? client.nextSeq;
      if (unanswered !== null) yield* this.#carryOut(client, unanswered, unanswered.clientSeq);
    }
  }

  /** Resumes when it is answered; it counts if it was carried out. */
  *change(which: number, change: Change): Scenario {
    const client = this.clients[which]!;
    client.session.lowWater = client.nextSeq;
    yield* this.#carryOut(client, change, client.nextSeq++);
    this.checkBound();
  }

  *#carryOut(client: Client, change: Change, clientSeq: number): Scenario {
    const status = yield resume => client.send(change, clientSeq, answered => resume(answered.status));
    if (status === IoStatus.ok) client.data.change(change.op, change.offsetBytes, change.lengthBytes);
    else if (status !== IoStatus.noSpace) throw new Error(`a change was answered ${String(status)}`);
  }

  /** Is sent and not waited for: the life is to end soon. */
  leave(which: number, change: Change): void {
    const client = this.clients[which]!;
    if (client.unanswered !== null) return;
    client.unanswered = { ...change, clientSeq: client.nextSeq++ };
    client.session.lowWater = client.unanswered.clientSeq;
    client.send(change, client.unanswered.clientSeq, () => undefined);
  }

  *resize(which: number, sizeBytes: number): Scenario {
    const { vdiskId, data } = this.clients[which]!;
    const wanted = { kind: 'resize', fromBytes: data.sizeBytes, toBytes: sizeBytes } as const;
    const answer = (yield (resume: (answer: VdiskAnswer) => void) => this.#rig.node.command(vdiskId, wanted, resume)) as VdiskAnswer;
    if (answer.kind !== 'resized') throw new Error(`a resize was answered ${answer.kind}`);
    data.resize(sizeBytes);
    this.checkBound();
  }

  /** From now on the vdisk may take so many bytes, and is refused what lies behind. */
  limit(which: number, bytes: number): void {
    const { vdiskId } = this.clients[which]!;
    const { rule, usedBytes } = this.#controller(which);
    const endBytes = rule.takenBytes + bytes;
    this.clients[which]!.mostBytes = usedBytes + bytes;
    this.#rig.node.setSpace([{ vdiskId, onFull: 'error', limitBytes: endBytes, endBytes }]);
  }

  rest: Step = resume => delay(this.#rig, REST_NS)(resume);
  stop: Step = resume => this.#rig.stop(resume);

  #controller(which: number) {
    return this.#rig.node.controllerOf(VDISKS[which]!)!;
  }

  used(which: number): number {
    return this.#controller(which).usedBytes;
  }

  /** Before the log is drained what is told is the most. */
  checkBound(): void {
    this.clients.forEach(({ data, mostBytes }, which) => {
      if (data.bytes > mostBytes) throw new Error(`vdisk ${which} has data of ${data.bytes}, and may have ${mostBytes}`);
      const { state, index, usedBytes, ports } = this.#controller(which);
      const told = ports.store.allocatedBytes(state.layer) + index.writtenBlocks * BLOCK_BYTES;
      if (told < data.bytes) throw new Error(`vdisk ${which} is told to use ${told}, and has data of ${data.bytes}`);
      if (usedBytes < told) throw new Error(`vdisk ${which} counts ${usedBytes} for its quota, and tells ${told}`);
    });
  }

  /** When everything is drained: what is told is exact, of each vdisk and of the container. */
  checkDrained(): void {
    const usage = new Map(this.#rig.node.usage().map(one => [one.vdiskId, one.usedBytes]));
    this.clients.forEach(({ vdiskId, data }, which) => {
      const { state, index, ports } = this.#controller(which);
      const found = [ports.store.allocatedBytes(state.layer), usage.get(vdiskId), this.#recount(state.layer), index.writtenBlocks];
      const expected = [data.bytes, data.bytes, data.bytes, 0];
      if (found.join() !== expected.join()) throw new Error(`vdisk ${which}: counted ${found.join()}, it has ${expected.join()}`);
    });
  }

  /** Data blocks in the records of the store, one by one. */
  #recount(layer: number): number {
    const table = new ChunkTable(1);
    let blocks = 0;
    for (const [key, record] of readerOf(this.storeDisk).range(Buffer.from([KeyKind.chunk]), Buffer.from([KeyKind.chunk + 1]))) {
      const place = parseKey(key);
      if (place === null || place.layer !== layer) continue;
      decodeChunk(record, record.length, placeSeed(layer, place.segment, place.chunk), table, 0);
      for (const state of table.state) if (state === BlockState.data) blocks++;
    }
    return blocks * BLOCK_BYTES;
  }

  /** What `gatepath verify` says of the directory between two lives. */
  verify(): string[] {
    const engine = new FaultyEngine(verifyArena, this.clock, this.disk);
    const { findings } = verifyStargateRecords(
      { files: engine.files, arena: verifyArena, scratchOffset: 0, directory: DIRECTORY, streams: 1 },
      { ...readerOf(this.storeDisk), check: () => [] },
    );
    engine.kill();
    return findings.filter(({ severity }) => severity === 'error').map(({ code, file, message }) => `${code}, ${file}: ${message}`);
  }
}

const verifyArena = createArena(Math.max(VERIFY_STARGATE_SCRATCH_BYTES, 1 << 20));
