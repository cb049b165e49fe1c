import { createArena } from 'uring-engine';
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCKS_PER_SEGMENT, BlockState, type BlockStates } from '../../../../src/stargate/core/ports.js';
import { decodeResync, type ResyncReply, type ResyncRequest } from '../../../../src/stargate/core/replication/resync-messages.js';
import type { GroupVdisk } from '../../../../src/stargate/runtime/group/group-vdisk.js';
import { ResyncSource } from '../../../../src/stargate/runtime/group/resync-source.js';
import { ResyncTarget } from '../../../../src/stargate/runtime/group/resync-target.js';
import { EntryList } from '../../../../src/wire/peers.js';
import type { MemberId, ReplicaMessage } from '../../../../src/wire/replicate.js';

const PEER = 'node-2/store/1' as MemberId;
const NO_ENTRIES = new EntryList();
const buffers = { take: () => 0, give: () => undefined, wait: () => undefined };
const done = (owner: { onRead(tag: number, result: number): void }): void => owner.onRead(0, 0);

/** A replica whose store and clock the test plays: what a resync asks of the rest of the node. */
class Rig {
  readonly sent: (ResyncRequest | ResyncReply)[] = [];
  readonly commits: { readonly toSeq: number; readonly seq: Float64Array }[] = [];
  readonly problems: string[] = [];
  readonly later: (() => void)[] = [];
  /** What its machines are told. */
  readonly steps: string[] = [];
  /** As the store says it: block 0 of segment 0, zeroed by this entry … */
  seqOfBlock = 0;
  /** … and how far the segment is drained. */
  drainSeq = 0;
  segments = [0];

  readonly clock = { nowMs: 0 };
  /** What the replica has promised, and whether it is about to take over. */
  readonly promise = { term: 3, controller: PEER, nonce: '' };
  office = 'idle';
  readonly usage = { usedBytes: 0, capacityBytes: 100 };
  /** Where the log is drained to, and how often it was let go. */
  readonly local = {
    drained: { seq: 0, hash: 0, term: 0 },
    forgets: 0,
    forget: () => void this.local.forgets++,
    headRecord: () => ({ at: { seq: 0, hash: 0, term: 0 }, sizeBytes: 0, sessions: [] }),
  };

  readonly group = {
    vdiskId: 'v',
    options: { layer: 1 },
    hasRecorded: true,
    isStopped: false,
    repair: { isBusy: false },
    replica: { member: { promise: this.promise }, takeover: { state: this.#office() } },
    step: ({ kind }: { readonly kind: string }) => void this.steps.push(kind),
    local: this.local,
    stream: { usage: this.usage },
    parts: Object.assign(Object.create(this.clock) as object, {
      ports: {
        arena: createArena(4096),
        buffers: { ...buffers, reserved: buffers },
        extents: {
          punch: (_l: number, _s: number, _b: number, _n: number, owner: never) => done(owner),
          sync: (_l: number, _s: number, owner: never) => done(owner),
        },
        store: {
          segments: () => this.segments.map(segment => ({ segment, drainSeq: this.drainSeq })),
          drainSeq: () => this.drainSeq,
          nextChanged: (_layer: number, _segment: number, block: number) => (block === 0 ? 0 : BLOCKS_PER_SEGMENT),
          lookup: (_layer: number, _segment: number, block: number, _blocks: number, out: BlockStates) => {
            out.state.fill(BlockState.absent);
            out.seq.fill(0);
            if (block === 0) [out.state[0], out.seq[0]] = [BlockState.zero, this.seqOfBlock];
            return true;
          },
          commitDrain: (commit: never) => void this.commits.push(commit),
        },
      },
      headers: { baseOffset: 0 },
      sender: { send: (_to: MemberId, _vdisk: string, message: ReplicaMessage) => this.#send(message) },
      isDraining: () => false,
      after: (_ms: number, call: () => void) => void this.later.push(call),
      say: (_level: string, message: string) => void this.problems.push(message),
    }),
  } as unknown as GroupVdisk;

  #office(): object {
    return Object.defineProperty({}, 'kind', { get: () => this.office });
  }

  get kinds(): string[] {
    return this.sent.map(({ kind }) => kind);
  }

  #send(message: ReplicaMessage): boolean {
    if (message.kind === 'resync') this.sent.push(decodeResync(message.data)!);
    return true;
  }
}

describe('whoever gives a resync', () => {
  let rig: Rig;
  let source: ResyncSource;
  /** The replica has done what it was asked last; its own door is at 10. */
  const answer = (): void => {
    const { id, step } = rig.sent.at(-1)!;
    source.onReply({ kind: 'ok', id, step, drainSeq: 10 });
  };

  beforeEach(() => {
    rig = new Rig();
    rig.seqOfBlock = rig.drainSeq = 20;
    source = new ResyncSource(rig.group, PEER, 3, () => undefined);
    source.start();
    answer();
  });

  it('sends what is above the door of the replica, and closes the segment at its own', () => {
    answer();
    answer();
    expect(rig.kinds).toEqual(['begin', 'open', 'blocks', 'close']);
    expect(rig.sent[2]).toMatchObject({ seqs: [20] });
    expect(rig.sent[3]).toMatchObject({ toSeq: 20 });
  });

  it('keeps the log while there is room, and where there is none lets it go and takes all segments once more', () => {
    rig.usage.usedBytes = 60;
    source.onTick(0);
    expect([source.holdSeq, rig.local.forgets]).toEqual([0, 0]);
    rig.usage.usedBytes = 61;
    source.onTick(0);
    expect([source.holdSeq, rig.local.forgets]).toEqual([Infinity, 1]);
    // What is drained meanwhile.
    rig.drainSeq = rig.seqOfBlock = 30;
    rig.local.drained = { seq: 30, hash: 3, term: 1 };
    for (let i = 0; i < 3; i++) answer();
    expect(rig.kinds).toEqual(['begin', 'open', 'blocks', 'close', 'open']);
    expect([source.holdSeq, source.progress.share]).toEqual([30, 0.99]);
    rig.usage.usedBytes = 0;
    for (let i = 0; i < 3; i++) answer();
    expect(rig.kinds.slice(5)).toEqual(['blocks', 'close', 'finish']);
    expect(rig.sent.at(-1)).toMatchObject({ base: { seq: 30 } });
    // It is said already.
    rig.usage.usedBytes = 100;
    source.onTick(0);
    expect(source.holdSeq).toBe(30);
  });

  it('makes writes wait for a replica that is brought up more slowly than they come', () => {
    rig.usage.usedBytes = 100;
    const passesMs = [100, 70, 50, 0];
    for (let i = 0; i < 100 && rig.kinds.at(-1) !== 'finish'; i++) {
      source.onTick(0);
      if (rig.kinds.at(-1) === 'close') {
        rig.drainSeq = ++rig.seqOfBlock;
        rig.clock.nowMs += passesMs.shift()!;
      }
      answer();
    }
    // The third took more than seven tenths of the second: in the fourth the log is kept.
    expect([rig.kinds.at(-1), passesMs, source.holdSeq]).toEqual(['finish', [], 0]);
  });

  it('knows how far it is, and how long the rest takes', () => {
    rig.segments = [0, 1];
    source = new ResyncSource(rig.group, PEER, 3, () => undefined);
    source.start();
    expect(source.progress).toEqual({ member: PEER, sentBlocks: 0, share: 0, leftMs: null });
    const steps: (readonly [blocks: number, share: number, leftMs: number | null])[] = [];
    // Of each segment: opened, a block, closed; a second for each.
    for (let i = 0; i < 7; i++) {
      rig.clock.nowMs += 1_000;
      answer();
      const { sentBlocks, share, leftMs } = source.progress;
      steps.push([sentBlocks, Number(share.toFixed(2)), leftMs === null ? null : Math.round(leftMs / 100) / 10]);
    }
    expect(steps).toEqual([
      [0, 0, null],
      [1, 0, null],
      [1, 0, null],
      [1, 0.5, 4],
      [2, 0.5, 5],
      [2, 0.5, 6],
      [2, 1, 0],
    ]);
  });

  it('waits for the answer of a drain that its blocks show already, and goes over the segment again', () => {
    // The store's transaction is durable, and can be read; its answer is on its way.
    rig.seqOfBlock = 25;
    answer();
    answer();
    expect(rig.kinds).toEqual(['begin', 'open', 'blocks']);
    expect(rig.later.length).toBe(1);
    rig.drainSeq = 25;
    rig.later.pop()!();
    answer();
    expect(rig.kinds).toEqual(['begin', 'open', 'blocks', 'blocks', 'close']);
    expect(rig.sent.at(-1)).toMatchObject({ toSeq: 25 });
  });
});

describe('a replica that is given a resync', () => {
  it.each([
    [20, 1],
    [25, 0],
    [10, 0],
  ])('whose door goes from 10 to 20 and that gets a block of entry %i stores %i segment(s)', (seq, segments) => {
    const rig = new Rig();
    rig.drainSeq = 10;
    const target = new ResyncTarget(rig.group, PEER, 3, 'a');
    const ask = (request: object): void => target.onRequest({ id: 'a', step: 1, ...request } as ResyncRequest, NO_ENTRIES);
    ask({ kind: 'open', segment: 0 });
    ask({ kind: 'blocks', runs: [{ block: 0, blocks: 1, state: BlockState.zero }], seqs: [seq], crcs: [0] });
    ask({ kind: 'close', toSeq: 20 });
    expect(rig.commits.length).toBe(segments);
    expect(rig.problems.length).toBe(1 - segments);
  });
});

describe('whoever gets a resync', () => {
  it('gives up what is not known to be committed first, and says that it is ready when that is on the disk', () => {
    const rig = new Rig();
    const group = rig.group as unknown as { hasRecorded: boolean };
    group.hasRecorded = false;
    new ResyncTarget(rig.group, PEER, 3, 'a').onRequest({ id: 'a', step: 1, kind: 'begin' }, NO_ENTRIES);
    expect(rig.steps).toEqual(['cutTail']);
    rig.later.shift()!();
    expect(rig.kinds).toEqual([]);
    group.hasRecorded = true;
    rig.later.shift()!();
    expect(rig.kinds).toEqual(['ok']);
  });

  it('waits with what changes its log until it has read the record, to take over; if it does, or somebody else has, nothing is changed', () => {
    const begun = (): Rig => {
      const rig = new Rig();
      rig.office = 'reading';
      new ResyncTarget(rig.group, PEER, 3, 'a').onRequest({ id: 'a', step: 1, kind: 'begin' }, NO_ENTRIES);
      rig.later.shift()!();
      expect(rig.steps).toEqual([]);
      return rig;
    };
    for (const [office, term, steps] of [
      ['idle', 3, ['cutTail']],
      ['proposing', 3, []],
      ['idle', 4, []],
    ] as const) {
      const rig = begun();
      rig.office = office;
      rig.promise.term = term;
      rig.later.shift()!();
      expect(rig.steps).toEqual(steps);
      expect(rig.later).toEqual([]);
    }
  });
});
