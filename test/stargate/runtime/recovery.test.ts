import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeRecord } from '../../../src/stargate/core/head.js';
import { Where } from '../../../src/stargate/core/block-index.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, EntryKind } from '../../../src/stargate/core/ports.js';
import { RequestState } from '../../../src/stargate/core/sessions.js';
import type { RecoveredEntry, StreamVdiskLog } from '../../../src/stargate/oplog/index.js';
import { RecoveryCollector } from '../../../src/stargate/runtime/recovery.js';
import type { CoreClient } from '../core/core-client.js';
import { blocks, CoreRig } from '../core/core-rig.js';

/** What a start makes of the log, from its entry `from` on. */
function recovered(rig: CoreRig, from: number) {
  const collector = new RecoveryCollector(rig.arena, rig.store.store);
  const at = rig.memory(new Uint8Array(1 << 20));
  for (const { payload, kind, seq, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes, lsn } of rig.log.entries.slice(from)) {
    rig.arena.bytes.set(payload, at);
    const entry: RecoveredEntry = {
      ...{ kind, seq, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes, lsn },
      ...{ historyId: 1, creationTerm: 7, prevHash: 0, hash: 0, payloadCrc: 0, flags: 0 },
      payloadBytes: payload.length,
      payloadOffset: at,
    };
    collector.onEntry({ vdiskId: 'vdisk' } as StreamVdiskLog, entry);
  }
  return collector.vdisks.get('vdisk')!;
}

/** Two segments meet in the middle. */
const FIRST = BLOCKS_PER_SEGMENT - 30;
const SPAN = 60;

const step = fc.record({
  kind: fc.constantFrom(
    'write',
    'write',
    'write',
    'partial',
    'zero',
    'trim',
    'commit',
    'lose',
    'takeOver',
    'close',
    'head',
    'head',
    'drain',
    'room',
  ),
  at: fc.integer({ min: 0, max: SPAN - 25 }),
  count: fc.integer({ min: 1, max: 20 }),
  shard: fc.integer({ min: 0, max: 1 }),
});

/** One life of a controller: clients that write, lose their paths, are replaced; HEADs and drains in between. */
class Life {
  readonly rig = new CoreRig();
  readonly #clients: (CoreClient | null)[] = [null, null];
  readonly #nextSeq = [1, 1];
  #generation = 1;
  #value = 1;
  /** Index of the last HEAD in the log. */
  head = 0;

  play({ kind, at, count, shard }: { kind: string; at: number; count: number; shard: number }): void {
    const { rig } = this;
    const offset = (FIRST + at) * BLOCK_BYTES;
    switch (kind) {
      case 'write':
        this.#change(shard, client =>
          client.write(offset, blocks(...Array.from({ length: count % 3 || 1 }, () => this.#value++ & 0xff)), this.#next(shard)),
        );
        break;
      case 'partial':
        this.#change(shard, client => client.write(offset + 700, new Uint8Array(count * 1_000).fill(this.#value++), this.#next(shard)));
        break;
      case 'zero':
        this.#change(shard, client => client.zero(offset + (count % 2) * 100, count * BLOCK_BYTES, this.#next(shard)));
        break;
      case 'trim':
        this.#change(shard, client => client.trim(offset, count * BLOCK_BYTES, this.#next(shard)));
        break;
      case 'commit':
        rig.log.commit(count);
        rig.settle();
        break;
      case 'room':
        // Full for a while, in the middle of a change perhaps.
        rig.log.room = count % 3;
        rig.settle();
        rig.log.commit(1);
        rig.settle();
        rig.log.free();
        break;
      case 'lose':
        this.#clients[shard]?.path.close();
        this.#clients[shard] = null;
        break;
      case 'takeOver':
        if (count > 4) return;
        this.#generation++;
        this.#clients[0] = this.#clients[1] = null;
        this.#nextSeq[0] = this.#nextSeq[1] = 1;
        break;
      case 'close':
        if (count > 4) return;
        rig.controller.closeSession({ vdiskId: 'vdisk', generation: this.#generation, datapathUuid: 'a', shard }, () => undefined);
        this.#clients[shard] = null;
        this.#nextSeq[shard] = 1;
        break;
      case 'head': {
        const head = rig.controller.head(0, 0);
        if (head === null || !rig.controller.appendControl(EntryKind.head, encodeRecord(head), 0, null)) return;
        this.head = rig.log.entries.length - 1;
        break;
      }
      case 'drain':
        this.#drain(Math.floor((FIRST + at) / BLOCKS_PER_SEGMENT));
    }
  }

  #change(shard: number, send: (client: CoreClient) => unknown): void {
    const client = (this.#clients[shard] ??= this.rig.open(this.#generation, 'a', shard));
    client.lowWater = Math.max(1, this.#nextSeq[shard]! - 40);
    send(client);
  }

  #next(shard: number): number {
    return this.#nextSeq[shard]!++;
  }

  /** The segment has been drained as far as the log is committed: its blocks are in the extents. */
  #drain(segment: number): void {
    const { rig } = this;
    const { committedSeq } = rig.controller;
    if (rig.controller.index.segment(segment) === undefined) return;
    rig.drained(segment, 100, blocks(1), committedSeq);
    rig.settle();
  }
}

describe('what a start makes of a log', () => {
  it('is what the controller knew: blocks, sessions, and what of them is committed', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 80 }), steps => {
        const life = new Life();
        for (const one of steps) life.play(one);
        life.rig.finish();
        const { controller } = life.rig;
        // Nothing came of any step: there is no log.
        if (life.rig.log.entries.length === 0) return;
        // From the last HEAD on, and from the very start.
        for (const from of new Set([0, life.head])) {
          const found = recovered(life.rig, from);
          expect(found.problem).toBe('');
          const ids = (table: typeof controller.sessions) =>
            table.record().sessions.map(({ id, generation, datapathUuid, shard }) => ({ id, generation, datapathUuid, shard }));
          expect(ids(found.sessions)).toEqual(ids(controller.sessions));
          for (const { id, lowWater } of controller.sessions.record().sessions) {
            const [live, again] = [controller.sessions.get(id)!, found.sessions.get(id)!];
            expect(again.lowWater).toBeLessThanOrEqual(lowWater);
            for (let clientSeq = lowWater; clientSeq < lowWater + 60; clientSeq++) {
              expect(live.stateOf(clientSeq)).not.toBe(RequestState.inFlight);
              expect(again.stateOf(clientSeq)).toBe(live.stateOf(clientSeq));
              expect(again.partsBefore(clientSeq)).toBe(live.partsBefore(clientSeq));
            }
          }
          if (from > 0) continue;
          for (let block = FIRST; block < FIRST + SPAN; block++) {
            const where = controller.index.find(block);
            expect(found.index.find(block)).toBe(where);
            if (where !== Where.notHere) expect(found.index.found.seq).toBe(controller.index.found.seq);
            if (where === Where.log)
              expect([found.index.found.lsn, found.index.found.crc]).toEqual([controller.index.found.lsn, controller.index.found.crc]);
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('is a problem of one vdisk when a record is none of ours', () => {
    const rig = new CoreRig();
    rig.open();
    rig.controller.appendControl(EntryKind.head, encodeRecord({ ...rig.controller.head(0, 0)!, version: 2 as 1 }), 0, null);
    rig.finish();
    expect(recovered(rig, 0).problem).toMatch(/entry 2 of its log cannot be taken up/);
  });
});
