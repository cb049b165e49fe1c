/**
 * Durable 4 KiB appends through the log alone, on a real file: QD1 and QD32, one vdisk, each acknowledgement starts the next append.
 * `flock /tmp/bench.lock npx tsx bench/micro/oplog.ts [io_uring|libuv] [DIRECTORY]`
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArenaRegion, createArena, createEngine, Gather, type Engine } from 'uring-engine';
import { EntryKind, type EntryDraft, type LogOwner } from '../../src/stargate/core/ports.js';
import { OPLOG_MEMORY_BYTES, OplogStream, type StreamVdiskLog } from '../../src/stargate/oplog/index.js';

const kind = (process.argv[2] ?? 'io_uring') as 'io_uring' | 'libuv';
const root = process.argv[3] ?? tmpdir();
const RUN_NS = 2e9;
const ROUNDS = 5;
const TRUNCATE_EVERY = 4096;

class Load implements LogOwner {
  acks = 0;
  endNs = 0;
  startNs = 0;
  inFlight = 0;
  refused = 0;
  #resolve: (() => void) | null = null;

  constructor(
    readonly engine: Engine,
    readonly stream: OplogStream,
    readonly log: StreamVdiskLog,
    readonly draft: EntryDraft,
    readonly sources: number,
  ) {}

  start(queueDepth: number): Promise<void> {
    this.acks = 0;
    this.startNs = Number(process.hrtime.bigint());
    this.endNs = this.startNs + RUN_NS;
    for (let i = 0; i < queueDepth; i++) this.append(i);
    return new Promise(resolve => (this.#resolve = resolve));
  }

  append(tag: number): void {
    const { draft } = this;
    draft.seq = this.log.lastSeq + 1;
    draft.payload.clear();
    draft.payload.add(this.sources + tag * 8192 + 512, 4096);
    if (this.stream.append(this.log, draft, this, tag) < 0) {
      this.refused++;
      return;
    }
    this.inFlight++;
  }

  onDurable(tag: number): void {
    this.inFlight--;
    this.acks++;
    if (this.acks % TRUNCATE_EVERY === 0) this.stream.truncate(this.log, this.stream.usage.durableLsn);
    if (this.endNs !== 0 && ((this.acks & 31) !== 0 || Number(process.hrtime.bigint()) < this.endNs)) return this.append(tag);
    this.endNs = 0;
    if (this.inFlight === 0) this.finish();
  }

  finish(): void {
    this.#resolve!();
  }

  onLogFailed(errno: number): void {
    throw new Error(`the log failed: ${errno}`);
  }

  onLogSpace(): void {
    this.refused--;
    this.append(0);
  }
}

function diskWrites(): { writes: number; flushes: number } {
  let writes = 0;
  let flushes = 0;
  for (const line of readFileSync('/proc/diskstats', 'utf8').trim().split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (!/^(vd|sd|nvme\d+n)[a-z0-9]*$/.test(fields[2]!) || /\d$/.test(fields[2]!.replace(/^nvme\d+n\d+/, ''))) continue;
    writes += Number(fields[7]);
    flushes += Number(fields[18] ?? 0);
  }
  return { writes, flushes };
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;

const arena = createArena(64 << 20);
const region = new ArenaRegion(arena);
const engine = createEngine({ arena, kind });
const directory = mkdtempSync(join(root, 'oplog-bench-'));
const { stream } = OplogStream.open({
  engine,
  memoryOffset: region.take(OPLOG_MEMORY_BYTES),
  directory: join(directory, 'stream-0'),
  capacityBytes: 8 * (64 << 20),
});
const draft: EntryDraft = {
  kind: EntryKind.write,
  seq: 0,
  creationTerm: 1,
  sessionId: 1,
  clientSeq: 1,
  part: 0,
  parts: 1,
  offsetBytes: 0,
  lengthBytes: 4096,
  payload: new Gather(4),
};
const sources = region.take(64 * 8192);
globalThis.crypto.getRandomValues(arena.bytes.subarray(sources, sources + 65_536));
const load = new Load(engine, stream, stream.openVdisk('00000000-0000-4000-8000-000000000001', 1), draft, sources);
// The first turns make the segments; let them be made before measuring.
const control = engine.register({ onCompletion: () => void step() });
const results = new Map<number, number[]>([
  [1, []],
  [32, []],
]);
const plan: number[] = [];
for (let i = 0; i < ROUNDS; i++) plan.push(1, 32);
let at = -1;
let before = diskWrites();
let batches = 0;

function step(): void {
  if (at >= 0) report(plan[at]!);
  at++;
  const queueDepth = plan[at];
  if (queueDepth === undefined) {
    stream.close(() => engine.stop());
    return;
  }
  before = diskWrites();
  batches = stream.statistics().batches;
  void load.start(queueDepth);
  // No promise resolves while the engine blocks the thread: the end is told by a call.
  load.finish = () => engine.timer(0, control, 0);
}

function report(queueDepth: number): void {
  const seconds = (Number(process.hrtime.bigint()) - load.startNs) / 1e9;
  const after = diskWrites();
  const perSecond = load.acks / seconds;
  results.get(queueDepth)!.push(perSecond);
  const ofBatches = stream.statistics().batches - batches;
  console.log(
    `QD${queueDepth}: ${Math.round(perSecond)} appends/s, ${(load.acks / ofBatches).toFixed(1)} per batch, ${((after.writes - before.writes) / load.acks).toFixed(2)} device writes and ` +
      `${((after.flushes - before.flushes) / load.acks).toFixed(2)} flushes per append, ${load.refused} refused`,
  );
}

engine.timer(1e9, control, 0);
await engine.run();
engine.destroy();
for (const [queueDepth, values] of results)
  console.log(`${engine.kind} QD${queueDepth}: median ${Math.round(median(values))} appends/s of 4 KiB, ${values.length} runs`);
rmSync(directory, { recursive: true });
