import assert from 'node:assert/strict';
import { FaultyEngine } from 'uring-engine/faulty';
import { BLOCK_BYTES, EntryKind } from '../../src/stargate/core/ports.js';
import { OPLOG_MEMORY_BYTES } from '../../src/stargate/oplog/index.js';
import { SEGMENT_DATA_OFFSET, SegmentAt } from '../../src/stargate/oplog/layout.js';
import { recover } from '../../src/stargate/oplog/recovery.js';
import { IoOp } from '../../src/wire/path.js';
import { check } from './checker.js';
import type { Client } from './client.js';
import { ENGINE_CAPACITY } from './limits.js';
import { oplogDirectory, type NodeBugs } from './node.js';
import { verifyOffline } from './verify.js';
import { World } from './world.js';

const SECTOR_BYTES = 512;
/** Between two events of a script. */
const MAX_EVENTS = 100_000;
/** Longer than any script: what hangs or is held back stays so. */
const FOR_EVER_NS = 1e13;
const KIND_NAMES = new Map<number, string>(Object.entries(EntryKind).map(([name, kind]) => [kind, name]));
/** Written by a node at times of its own, and nobody's story. */
const UNTOLD: ReadonlySet<number> = new Set([EntryKind.promise]);

/**
 * Runs a directed schedule over one simulated node and writes down what clients and node do; time and seed decide nothing that it says. Lines with ">" are
 * events, those after them what follows.
 *
 *   > node vdisks=2         the world; one stream
 *   > start                 until the node serves, or says that it cannot;  > start cut=3: the power goes at its fourth synchronous change to the disk,
 *                         or where it makes less, when it serves
 *   > datapath a b          a datapath whose shards use vdisk 0 (with two vdisks: a uses the first, b the second), until the sessions of what is served are open
 *   > write a w1 0+2        blocks 0 and 1; also zero and trim;  > read b 0+4: waits, and says whose each block is
 *   > await w1 w2           until they are answered
 *   > logged w2             until the disk has w2, at once: nobody has been told
 *   > hold                  the log's next write hangs;  > release: it goes on;  > wait 5: milliseconds;  > reopened a: until a has its session again
 *   > mute a                nothing that the node sends gets to a any more
 *   > cut                   the power goes, and with "die" after it the datapath's too;  > kill;  > stop
 *   > cut w2 sectors=0-8    when the disk has w2: of its batch those sectors alone;  > cut w3 gap=2: not the two pages before its batch
 *   > rot w2 [header]       a bit of its payload is flipped, or of its batch's header
 *   > log                   what a reader finds in the log;  > verify: what the offline verifiers say
 */
export class NodeScript {
  readonly lines: string[] = [];
  world!: World;
  readonly #clients = new Map<string, Client>();
  readonly #names = new Map<number, string>();
  readonly #opsOf = new Map<string, number>();
  readonly #answered = new Set<number>();
  #told = 0;

  constructor(
    readonly seed: number,
    readonly bugs: NodeBugs = {},
  ) {}

  run(text: string): string {
    for (const line of text.split('\n')) {
      if (line.startsWith('#') || line === '') this.lines.push(line);
      if (!line.startsWith('> ')) continue;
      this.lines.push(line);
      const [verb, ...words] = line.slice(2).split(' ');
      this.#event(verb!, words);
      this.#tell();
    }
    this.#judge();
    return this.lines.join('\n');
  }

  /** For whoever reads why it went wrong: everything that happened, with its time. */
  get timeline(): string {
    return this.world.trace.lines.map(line => this.#named(line)).join('\n');
  }

  #event(verb: string, words: string[]): void {
    const options = new Map(words.filter(word => word.includes('=')).map(word => word.split('=') as [string, string]));
    const names = words.filter(word => !word.includes('='));
    const { node } = this.world ?? {};
    if (verb === 'node') this.#makeWorld(Number(options.get('vdisks') ?? 1));
    else if (verb === 'start') this.#start(Number(options.get('cut') ?? Infinity));
    else if (verb === 'datapath') this.#startDatapath(names);
    else if (verb === 'write' || verb === 'zero' || verb === 'trim') this.#ask(IoOp[verb], names);
    else if (verb === 'read') this.#read(names);
    else if (verb === 'await') this.#until(() => names.every(name => this.#answered.has(this.#op(name))), `the answers to ${names.join()}`);
    else if (verb === 'logged') this.#untilLogged(names[0]!);
    else if (verb === 'reopened') this.#untilReopened(names[0]!);
    else if (verb === 'hold') node.disk.faults.add({ operation: 'write', path: /\.seg$/, error: 'hang' });
    else if (verb === 'release') node.disk.faults.release();
    else if (verb === 'wait') this.#wait(Number(names[0]));
    else if (verb === 'mute') this.#client(names[0]!).stall(FOR_EVER_NS);
    else if (verb === 'cut') this.#cut(names[0], options);
    else if (verb === 'kill') node.kill();
    else if (verb === 'stop') this.#stop();
    else if (verb === 'die') this.world.datapaths.at(-1)!.die();
    else if (verb === 'rot') this.#rot(names[0]!, names[1] === 'header');
    else if (verb === 'log') this.#log();
    else if (verb === 'verify') this.#say(...verifyOffline(this.world));
    else throw new Error(`script: unknown event "${verb}"`);
  }

  // ---------------------------------------------------------------- the world

  #makeWorld(vdiskCount: number): void {
    const shape = { vdiskCount, hotBlocks: 16, streams: 1, segmentBytes: 128 << 10, segments: 6, cachePages: 32, maxLatencyNs: 300_000 };
    this.world = new World({ seed: this.seed, isRead: true, shape, bugs: this.bugs });
  }

  #start(callsBeforeCut: number): void {
    const { world } = this;
    const { node } = world;
    assert(node.part === null, 'script: the node runs already');
    node.disk.cutPowerAfterCalls(callsBeforeCut);
    node.start();
    this.#until(() => node.isServing || node.disk.isOff || world.fatal !== '', 'a node that serves');
    if (callsBeforeCut < Infinity) return node.powerCut();
    this.#tell();
    if (world.fatal !== '') this.#say(world.fatal);
    const vdisks = (ids: readonly string[]): string => ids.map(id => this.#vdiskIndex(id)).join();
    for (const { report } of node.part!.streams) {
      for (const { fromLsn, toLsn, segment, vdisks: ids, message } of report.rot) {
        const [first, end] = [fromLsn, toLsn].map(lsn => this.#page(segment, lsn));
        this.#say(`rot in ${segment}, pages ${first} to ${end! - 1}, of vdisk ${vdisks(ids)}: ${message}`);
      }
    }
    for (const { vdiskId, message } of node.part!.problems) this.#say(`vdisk ${vdisks([vdiskId])} is not served: ${message}`);
  }

  #startDatapath(names: string[]): void {
    const { world } = this;
    // Without depth it asks for nothing by itself.
    const { clients } = world.startDatapath(names.length / world.vdisks.length, false, 0, true);
    names.forEach((name, i) => this.#clients.set(name, clients[i]!));
    const served = clients.filter(client => world.node.part!.served.has(client.vdisk.id));
    this.#until(() => served.every(client => client.session.state.kind === 'open'), 'open sessions');
  }

  #stop(): void {
    let stopped = false;
    this.world.node.stop(() => (stopped = true));
    this.#until(() => stopped, 'a clean stop');
  }

  // ---------------------------------------------------------------- what clients ask for

  #ask(op: IoOp, [client, name, range]: string[]): void {
    this.#submit(client!, name!, op, range!, () => undefined);
  }

  #read([client, range]: string[]): void {
    const name = `r${this.world.nextOperation}`;
    const first = Number(range!.split('+')[0]);
    this.#submit(client!, name, IoOp.read, range!, values => {
      const blocks = values.map((units, i) => `${first + i}=${[...new Set(units)].map(op => this.#value(op)).join('/')}`);
      this.#tell();
      this.#say(blocks.join(' '));
    });
    this.#until(() => this.#answered.has(this.#op(name)), `the answer to ${name}`);
  }

  #submit(clientName: string, name: string, op: IoOp, range: string, onValues: (values: readonly (readonly number[])[]) => void): void {
    const [first, blocks] = range.split('+').map(Number);
    const number = this.world.nextOperation;
    this.#names.set(number, name);
    this.#opsOf.set(name, number);
    this.#client(clientName).ask({ op, offsetBytes: first! * BLOCK_BYTES, lengthBytes: blocks! * BLOCK_BYTES }, (_status, values) => {
      this.#answered.add(number);
      onValues(values);
    });
  }

  #wait(forMs: number): void {
    const { clock } = this.world;
    const untilNs = clock.nowNs + forMs * 1e6;
    this.#until(() => clock.nextNs() > untilNs, `${forMs} ms`);
  }

  #untilReopened(name: string): void {
    const client = this.#client(name);
    this.#until(() => client.session.state.kind === 'open', `a path for ${name}`);
  }

  // ---------------------------------------------------------------- the disk

  /** Until the disk has carried out the write of the batch with it: the next thing that happens would be that somebody is told. */
  #untilLogged(name: string): { readonly path: string; readonly at: number; readonly length: number } {
    const { world } = this;
    let found: { path: string; at: number; length: number } | null = null;
    world.onDisk = (operation, path, at, length) => {
      if (operation !== 'write' || !path.endsWith('.seg') || at === 0) return;
      if (this.#find(this.#op(name), path, at, length) !== null) found = { path, at, length };
    };
    this.#until(() => found !== null, `the log's write of ${name}`);
    world.onDisk = () => undefined;
    return found!;
  }

  /** The power goes; in the middle of a batch's write, where one is named. Segments are in their first use here: what did not get there is zeroes. */
  #cut(name: string | undefined, options: ReadonlyMap<string, string>): void {
    const { disk } = this.world.node;
    const batch = name === undefined ? null : this.#untilLogged(name);
    this.world.node.powerCut();
    // It is over; whatever hung does not hang in the next life.
    disk.faults.clear();
    if (batch === null) return;
    const { path, at, length } = batch;
    // A name that was never synced: all is lost.
    if (disk.find(path) === null) return;
    const lose = (from: number, bytes: number): void => disk.file(path).writeDurable(new Uint8Array(bytes), from);
    const gapBytes = Number(options.get('gap') ?? 0) * BLOCK_BYTES;
    lose(at - gapBytes, gapBytes);
    const [first, last] = (options.get('sectors') ?? `0-${length / SECTOR_BYTES - 1}`)
      .split('-')
      .map(sector => Number(sector) * SECTOR_BYTES);
    lose(at, first!);
    lose(at + last! + SECTOR_BYTES, length - last! - SECTOR_BYTES);
  }

  #rot(name: string, isHeader: boolean): void {
    const { world } = this;
    const found = this.#segments().map(path => [path, this.#find(this.#op(name), path, BLOCK_BYTES, Infinity)] as const);
    const [path, at] = found.find(([, place]) => place !== null) as readonly [string, number];
    world.mayBeCorrupt = true;
    world.node.disk.rot(path, isHeader ? at - BLOCK_BYTES + SECTOR_BYTES : at + SECTOR_BYTES, 4);
  }

  /** What a reader finds there, by vdisk, in order. Of a node that does not run. */
  #log(): void {
    const { node, memory, clock } = this.world;
    const engine = new FaultyEngine(memory.arena, clock, node.disk, ENGINE_CAPACITY);
    const entries = new Map(this.world.vdisks.map(({ id }) => [id, [] as string[]]));
    const { words } = memory.arena;
    const recovered = recover({
      files: engine.files,
      arena: memory.arena,
      directory: oplogDirectory(0),
      headerOffset: memory.verifyOffset,
      windowOffset: memory.verifyOffset + BLOCK_BYTES,
      windowBytes: OPLOG_MEMORY_BYTES / 2,
      write: false,
      visitor: {
        onEntry: ({ vdiskId }, { kind, payloadOffset }) => {
          const isWrite = kind === EntryKind.write || kind === EntryKind.fullImage;
          if (!UNTOLD.has(kind)) entries.get(vdiskId)!.push(isWrite ? this.#name(words[payloadOffset / 4]!) : KIND_NAMES.get(kind)!);
        },
      },
    });
    engine.kill();
    for (const [id, found] of entries) this.#say(`vdisk ${this.#vdiskIndex(id)}: ${found.join(' ')}`);
    if (recovered.report.tornBytes > 0) this.#say('and a torn tail');
  }

  #segments(): string[] {
    return [...this.world.node.disk.walk()].map(([path]) => path).filter(path => path.endsWith('.seg'));
  }

  /** Where the first page of the operation's payload lies in the file, or null. */
  #find(op: number, path: string, from: number, length: number): number | null {
    const file = this.world.node.disk.file(path);
    const page = new Uint8Array(BLOCK_BYTES);
    for (let at = from; at < Math.min(from + length, file.sizeBytes); at += BLOCK_BYTES) {
      file.read(page, at);
      const [first, , third] = new Uint32Array(page.buffer);
      if (first === op && third === op) return at;
    }
    return null;
  }

  /** Page of its file in which the position lies. Segments say in their headers where they start. */
  #page(segment: string, lsn: number): number {
    const header = new Uint8Array(BLOCK_BYTES);
    this.world.node.disk.file(`${oplogDirectory(0)}/${segment}`).read(header, 0);
    const startLsn = new DataView(header.buffer).getUint32(SegmentAt.startLsn, true);
    return (lsn - startLsn + SEGMENT_DATA_OFFSET) / BLOCK_BYTES;
  }

  // ---------------------------------------------------------------- saying it

  /** What has happened since the last time, but for the disk's part in it. */
  #tell(): void {
    const { lines } = this.world.trace;
    for (; this.#told < lines.length; this.#told++) {
      const line = this.#named(lines[this.#told]!).replace(/^ *[\d.]+ ms /, '');
      if (!line.startsWith('disk: ') && !line.includes(' read ')) this.#say(line);
    }
  }

  #judge(): void {
    const { world } = this;
    const found = world.vdisks.flatMap(({ index, history }) =>
      check(history).map(({ block, message }) => `vdisk ${index} block ${block}: ${message}`),
    );
    const bad = [...world.complaints, ...found].map(message => this.#named(message));
    world.node.disk.killAll();
    if (bad.length > 0) throw new Error(bad.join('\n'));
  }

  #named(text: string): string {
    const clients = new Map([...this.#clients].map(([name, { number }]) => [number, name]));
    return text
      .replace(/#(\d+)/g, (_, op: string) => this.#name(Number(op)))
      .replace(/\[(\d[\d ]*)\]/g, (_, ops: string) => `[${ops.replace(/\d+/g, op => this.#value(Number(op)))}]`)
      .replace(/client (\d+)/, (_, number: string) => clients.get(Number(number)) ?? `client ${number}`);
  }

  #say(...texts: string[]): void {
    this.lines.push(...texts.map(text => `  ${text}`));
  }

  #name(op: number): string {
    return this.#names.get(op) ?? `#${op}`;
  }

  #value(op: number): string {
    return op === 0 ? 'zeroes' : this.#name(op);
  }

  #op(name: string): number {
    const op = this.#opsOf.get(name);
    assert(op !== undefined, `script: there is no operation "${name}"`);
    return op;
  }

  #client(name: string): Client {
    const client = this.#clients.get(name);
    assert(client !== undefined, `script: there is no client "${name}"`);
    return client;
  }

  #vdiskIndex(vdiskId: string): number {
    return this.world.vdisks.findIndex(({ id }) => id === vdiskId);
  }

  #until(done: () => boolean, what: string): void {
    for (let events = 0; !done(); events++) {
      if (events === MAX_EVENTS) throw new Error([...this.world.complaints, `script: ${what} did not come about`].join('\n'));
      this.world.step();
    }
  }
}
