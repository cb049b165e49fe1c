import { Gather, type Arena } from 'uring-engine';
import type { FaultyEngine, Inode } from 'uring-engine/faulty';
import { EntryKind, type EntryDraft, type LogOwner, type ReadOwner } from '../../../src/stargate/core/ports.js';
import {
  OPLOG_MEMORY_BYTES,
  OplogStream,
  type OplogMutations,
  type RecoveredEntry,
  type RecoveryReport,
  type StreamVdiskLog,
} from '../../../src/stargate/oplog/index.js';
import { DiskRig } from '../../support/disk-rig.js';

export const DIRECTORY = '/data/oplog/stream-0';
const SOURCE_OFFSET = Math.ceil(OPLOG_MEMORY_BYTES / 4096) * 4096;
const READ_OFFSET = SOURCE_OFFSET + (1 << 20);
export const vdiskId = (i: number) => `0000000${i}-1111-4222-8333-444455556666`;
/** What one appended entry was. */
export interface ModelEntry {
  readonly seq: number;
  readonly kind: EntryKind;
  readonly term: number;
  readonly payloadBytes: number;
  /** First word of the payload, which the others follow from. */
  readonly stamp: number;
  lsn: number;
}

export class ModelVdisk {
  entries: ModelEntry[] = [];
  ackedSeq = 0;
  /** Entries from here on have to be there. */
  neededSeq = 1;
  log: StreamVdiskLog | null = null;

  constructor(readonly id: string) {}
}

export class Lost extends Error {}

/** A stream over the faulty disk, and a model of what has to be in it. */
export class LogWorld implements LogOwner, ReadOwner {
  readonly rig: DiskRig;
  readonly vdisks: ModelVdisk[];
  readonly draft: EntryDraft;
  stream!: OplogStream;
  report!: RecoveryReport;
  term = 0;
  /** Appended and not yet acknowledged, in order: [vdisk, entry]. */
  expected: { readonly vdisk: ModelVdisk; readonly entry: ModelEntry; readonly tag: number }[] = [];
  /** Wants to know what is held. */
  holds: ((tag: number) => void) | undefined;
  spaceCalls = 0;
  failed = 0;
  acks = 0;
  #tag = 0;
  #stamp = 1;
  readonly #reads = new Map<number, ModelEntry>();

  constructor(
    readonly seed: number,
    vdisks: number,
    readonly options: {
      readonly segmentBytes: number;
      readonly segments: number;
      readonly mutations?: OplogMutations;
      /** Planted in each engine. */
      readonly bug?: (engine: FaultyEngine) => void;
    },
  ) {
    this.rig = new DiskRig(seed, { arenaBytes: READ_OFFSET + (1 << 20), ...(options.bug === undefined ? {} : { bug: options.bug }) });
    this.rig.givenDirectory('/data');
    this.vdisks = Array.from({ length: vdisks }, (_, i) => new ModelVdisk(vdiskId(i)));
    this.draft = {
      kind: 1,
      seq: 0,
      creationTerm: 0,
      sessionId: 0,
      clientSeq: 0,
      part: 0,
      parts: 1,
      offsetBytes: 0,
      lengthBytes: 0,
      payload: new Gather(8),
    };
  }

  get random(): () => number {
    return this.rig.random;
  }

  get arena(): Arena {
    return this.rig.arena;
  }

  get onHeld(): LogOwner['onHeld'] {
    return this.holds;
  }

  /** Reads its payload, wherever it is by now, to the place that is returned. */
  readHeld(entry: ModelEntry, done: (result: number) => void): number {
    this.stream.readPayload(entry.lsn, entry.payloadBytes, READ_OFFSET, { onRead: (_tag, result) => done(result) }, 0);
    return READ_OFFSET;
  }

  /** A segment file, as it is on the disk. */
  file(name: string): Inode {
    return this.rig.disk.file(`${DIRECTORY}/${name}`);
  }

  /** Opens the stream and holds what it recovered against the model. After `callsLeft` changes of the disk the power goes: throws PowerLoss. */
  start(callsLeft = Infinity): void {
    const { disk, engine } = this.rig;
    disk.cutPowerAfterCalls(callsLeft);
    this.term++;
    const found = new Map<string, { readonly seq: number; readonly text: string; readonly lsn: number }[]>();
    const { stream, report } = OplogStream.open({
      engine,
      memoryOffset: 0,
      directory: DIRECTORY,
      capacityBytes: this.options.segmentBytes * this.options.segments,
      segmentBytes: this.options.segmentBytes,
      mutations: this.options.mutations ?? {},
      fillRandom: words => void words.forEach((_, i) => (words[i] = Math.floor(this.random() * 2 ** 32))),
      visitor: {
        onEntry: (log, entry) => {
          const list = found.get(log.vdiskId) ?? [];
          found.set(log.vdiskId, list);
          list.push({ seq: entry.seq, text: this.#describeFound(entry), lsn: entry.lsn });
        },
      },
    });
    disk.cutPowerAfterCalls(Infinity);
    this.stream = stream;
    this.report = report;
    this.expected = [];
    this.#reads.clear();
    if (report.rot.length > 0) throw new Lost(`rot was reported: ${JSON.stringify(report.rot[0])}`);
    if (report.broken.length > 0) throw new Lost(`a chain is broken: ${JSON.stringify(report.broken[0]!.broken)}`);
    for (const vdisk of this.vdisks) this.#check(vdisk, found.get(vdisk.id) ?? []);
  }

  #check(vdisk: ModelVdisk, found: readonly { readonly seq: number; readonly text: string; readonly lsn: number }[]): void {
    const last = found.at(-1)?.seq ?? 0;
    if (last < vdisk.ackedSeq) throw new Lost(`${vdisk.id}: ${vdisk.ackedSeq} was acknowledged, ${last} was found`);
    if (found.length > 0 && found[0]!.seq > vdisk.neededSeq)
      throw new Lost(`${vdisk.id}: ${vdisk.neededSeq} is needed, the log starts at ${found[0]!.seq}`);
    if (found.length === 0 && vdisk.ackedSeq >= vdisk.neededSeq) throw new Lost(`${vdisk.id}: nothing found`);
    for (const { seq, text, lsn } of found) {
      const entry = vdisk.entries.find(one => one.seq === seq);
      if (entry === undefined) throw new Lost(`${vdisk.id}: entry ${seq} was invented`);
      if (describe(entry) !== text) throw new Lost(`${vdisk.id}: entry ${seq} is ${text}, was ${describe(entry)}`);
      if (entry.lsn !== lsn) throw new Lost(`${vdisk.id}: entry ${seq} at ${lsn}, was at ${entry.lsn}`);
    }
    vdisk.log = this.stream.openVdisk(vdisk.id, 1);
    vdisk.entries = vdisk.entries.filter(entry => entry.seq <= last);
    vdisk.ackedSeq = last;
    if (found.length > 0) vdisk.neededSeq = Math.max(vdisk.neededSeq, found[0]!.seq);
    const needed = vdisk.entries.find(entry => entry.seq === vdisk.neededSeq);
    if (needed !== undefined) this.stream.truncate(vdisk.log, needed.lsn);
  }

  /** False: refused. */
  append(vdisk: ModelVdisk, payloadBytes: number, kind: EntryKind = EntryKind.write): boolean {
    const stamp = (this.#stamp = (Math.imul(this.#stamp, 0x5bd1e995) + 0x3c6ef372) >>> 0);
    const entry: ModelEntry = { seq: vdisk.log!.lastSeq + 1, kind, term: this.term, payloadBytes, stamp, lsn: 0 };
    fillPayload(this.arena, SOURCE_OFFSET, payloadBytes, stamp);
    const { draft } = this;
    draft.kind = kind;
    draft.seq = entry.seq;
    draft.creationTerm = entry.term;
    draft.sessionId = stamp;
    draft.clientSeq = stamp % 1000;
    draft.offsetBytes = (stamp % 1024) * 4096;
    draft.lengthBytes = payloadBytes;
    draft.payload.clear();
    // In two pieces now and then.
    const cut = payloadBytes > 1024 ? 512 * (stamp % 3) : 0;
    if (cut > 0) draft.payload.add(SOURCE_OFFSET, cut);
    if (payloadBytes > cut) draft.payload.add(SOURCE_OFFSET + cut, payloadBytes - cut);
    const tag = ++this.#tag;
    entry.lsn = this.stream.append(vdisk.log!, draft, this, tag);
    if (entry.lsn < 0) return false;
    vdisk.entries.push(entry);
    this.expected.push({ vdisk, entry, tag });
    this.rig.engine.poke();
    return true;
  }

  onDurable(tag: number, payloadOffset: number): void {
    const next = this.expected.shift();
    if (next === undefined || next.tag !== tag) throw new Error(`acknowledged ${tag}, expected ${next?.tag}`);
    const { entry, vdisk } = next;
    if (!payloadIs(this.arena, payloadOffset, entry.payloadBytes, entry.stamp)) throw new Error('the payload is not readable in onDurable');
    if (vdisk.ackedSeq + 1 !== entry.seq) throw new Error('acknowledged out of order');
    vdisk.ackedSeq = entry.seq;
    this.acks++;
  }

  onLogFailed(errno: number): void {
    this.failed = errno;
  }

  onLogSpace(): void {
    this.spaceCalls++;
  }

  /** Everything below `seq` is drained and a HEAD says so. */
  truncate(vdisk: ModelVdisk, seq: number): void {
    const entry = vdisk.entries.find(one => one.seq === seq)!;
    vdisk.neededSeq = seq;
    vdisk.entries = vdisk.entries.filter(
      one => one.seq >= seq || one.lsn >= entry.lsn - 4 * this.options.segmentBytes * this.options.segments,
    );
    this.stream.truncate(vdisk.log!, entry.lsn);
  }

  read(entry: ModelEntry): void {
    const bytes = Math.floor(entry.payloadBytes / 512) * 512;
    this.#reads.set(entry.seq, entry);
    this.stream.readPayload(entry.lsn, bytes, READ_OFFSET, this, entry.seq);
    this.rig.until(() => !this.#reads.has(entry.seq));
  }

  onRead(tag: number, result: number): void {
    const entry = this.#reads.get(tag)!;
    this.#reads.delete(tag);
    const bytes = Math.floor(entry.payloadBytes / 512) * 512;
    if (result !== bytes || !payloadIs(this.arena, READ_OFFSET, bytes, entry.stamp)) throw new Lost(`entry ${tag} reads wrong`);
  }

  settle(): void {
    this.rig.until(() => this.expected.length === 0);
  }

  close(): void {
    let closed = -1;
    this.stream.close(errno => (closed = errno));
    this.rig.until(() => closed >= 0);
    this.rig.kill();
  }

  #describeFound(entry: RecoveredEntry): string {
    const { seq, kind, creationTerm, payloadBytes, sessionId, clientSeq, offsetBytes, lengthBytes, payloadOffset } = entry;
    const right = clientSeq === sessionId % 1000 && offsetBytes === (sessionId % 1024) * 4096 && lengthBytes === payloadBytes;
    const intact = right && payloadIs(this.arena, payloadOffset, payloadBytes, sessionId);
    return `${seq}:${kind}:${creationTerm}:${payloadBytes}:${sessionId}${intact ? '' : ' damaged'}`;
  }
}

const describe = (entry: ModelEntry) => `${entry.seq}:${entry.kind}:${entry.term}:${entry.payloadBytes}:${entry.stamp}`;

function fillPayload(arena: Arena, at: number, bytes: number, stamp: number): void {
  for (let i = 0; i < bytes; i += 256) {
    arena.bytes.fill((stamp + i / 256) & 0xff, at + i, at + Math.min(i + 256, bytes));
    if (i + 8 <= bytes) arena.view.setUint32(at + i, (stamp + i) >>> 0, true);
  }
}

function payloadIs(arena: Arena, at: number, bytes: number, stamp: number): boolean {
  for (let i = 0; i < bytes; i += 256) {
    const length = Math.min(256, bytes - i);
    const stamped = length >= 8;
    if (stamped && arena.view.getUint32(at + i, true) !== (stamp + i) >>> 0) return false;
    for (let k = stamped ? 4 : 0; k < length; k++) if (arena.bytes[at + i + k] !== ((stamp + i / 256) & 0xff)) return false;
  }
  return true;
}
