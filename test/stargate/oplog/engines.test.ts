import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ArenaRegion, createArena, createEngine, Gather, type Engine } from 'uring-engine';
import { EntryKind, type EntryDraft, type LogOwner, type ReadOwner } from '../../../src/stargate/core/ports.js';
import { OPLOG_MEMORY_BYTES, OplogStream, type RecoveryReport } from '../../../src/stargate/oplog/index.js';
import { vdiskId } from './log-world.js';

const ENTRIES = 1_000;

/** Appends entries with so many under way, reads each back, then ends the engine, with or without a clean stop. */
class Writer implements LogOwner, ReadOwner {
  readonly seen: number[] = [];
  readonly report: RecoveryReport;
  readonly stream: OplogStream;
  acks = 0;
  read = 0;
  #appended = 0;
  readonly #lsns: number[] = [];
  readonly #source: number;
  readonly #target: number;
  readonly #draft: EntryDraft;

  constructor(
    readonly engine: Engine,
    directory: string,
    readonly clean: boolean,
  ) {
    const region = new ArenaRegion(engine.arena);
    const { stream, report } = OplogStream.open({
      engine,
      memoryOffset: region.take(OPLOG_MEMORY_BYTES),
      directory,
      capacityBytes: 64 << 20,
      segmentBytes: 2 << 20,
      visitor: { onEntry: (_log, entry) => void this.seen.push(entry.seq) },
    });
    this.stream = stream;
    this.report = report;
    this.#source = region.take(4096);
    this.#target = region.take(4096);
    const payload = new Gather(1);
    payload.add(this.#source, 4096);
    const kind = EntryKind.write;
    this.#draft = {
      kind,
      seq: 0,
      creationTerm: 1,
      sessionId: 0,
      clientSeq: 0,
      part: 0,
      parts: 1,
      offsetBytes: 0,
      lengthBytes: 4096,
      payload,
    };
  }

  async run(queueDepth: number): Promise<void> {
    for (let i = 0; i < queueDepth; i++) this.#append();
    await this.engine.run();
    this.engine.destroy();
  }

  #append(): void {
    const log = this.stream.openVdisk(vdiskId(1), 1);
    this.engine.arena.view.setUint32(this.#source, log.lastSeq + 1, true);
    this.#draft.seq = log.lastSeq + 1;
    const lsn = this.stream.append(log, this.#draft, this, this.#appended);
    if (lsn < 0) return;
    this.#appended++;
    this.#lsns.push(lsn);
  }

  onDurable(tag: number): void {
    expect(tag).toBe(this.acks++);
    if (this.#appended < ENTRIES) this.#append();
    if (this.acks === ENTRIES) this.#readNext();
  }

  #readNext(): void {
    this.stream.readPayload(this.#lsns[this.read]!, 4096, this.#target, this, this.read);
  }

  onRead(tag: number, result: number): void {
    expect(result).toBe(4096);
    const first = this.stream.openVdisk(vdiskId(1), 1).lastSeq - ENTRIES + 1;
    expect(this.engine.arena.view.getUint32(this.#target, true)).toBe(first + tag);
    this.read += 97;
    if (this.read < ENTRIES) return this.#readNext();
    if (!this.clean) return this.engine.stop();
    this.stream.close(errno => {
      expect(errno).toBe(0);
      this.engine.stop();
    });
  }

  onLogFailed(errno: number): void {
    throw new Error(`the log failed: ${errno}`);
  }

  onLogSpace(): void {
    this.#append();
  }
}

for (const kind of ['io_uring', 'libuv'] as const) {
  describe(`the log on real files, over ${kind}`, () => {
    it('appends, reads, stops clean and unclean, and is found again', async () => {
      const root = mkdtempSync(join(tmpdir(), 'oplog-'));
      const arena = createArena(16 << 20);
      try {
        for (const [round, clean] of [true, false, true].entries()) {
          const writer = new Writer(createEngine({ arena, kind }), join(root, 'stream-0'), clean);
          expect(writer.report).toMatchObject({ clean: round === 1, rot: [], broken: [], entries: round * ENTRIES });
          expect(writer.seen).toEqual(Array.from({ length: round * ENTRIES }, (_, i) => i + 1));
          await writer.run([1, 8, 64][round]!);
          expect(writer.acks).toBe(ENTRIES);
        }
      } finally {
        rmSync(root, { recursive: true });
      }
    });
  });
}
