import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { CasOutcome, Group } from '../../../src/stargate/core/replication/effects.js';
import type { MemberId } from '../../../src/wire/replicate.js';
import { traceKind } from '../trace.js';
import type { Cluster } from './cluster.js';
import { BEAT_MISSED_NS, MAX_META_NS, META_TIMEOUT_NS } from './limits.js';

const Changed = traceKind(
  (vdisk, epoch, term, controller, members) =>
    `metadata: vdisk ${vdisk} epoch ${epoch}, term ${term}, controller ${controller}, members {${bits(members)}}`,
);
const Lost = traceKind((node, isAnswer) => `metadata: ${isAnswer === 1 ? 'an answer to' : 'a request of'} node ${node} is lost`);

const Sized = traceKind((vdisk, blocks, node) => `metadata: vdisk ${vdisk} has ${blocks} blocks, says node ${node}`);

const bits = (mask: number): string => [1, 2, 3, 4].filter(n => (mask & (1 << n)) !== 0).join(' ');

const numbers = new Map<MemberId, number>();

export function numberOf(member: MemberId): number {
  let number = numbers.get(member);
  if (number === undefined) numbers.set(member, (number = Number(/^node-(\d+)/.exec(member)![1])));
  return number;
}

/** Each change of it is another version. */
export interface SizeRecord {
  readonly sizeBytes: number;
  readonly version: number;
}

/** What is read to bring a size into the metadata; it is written only if nothing of that has changed. */
export interface FoundSize {
  readonly size: SizeRecord;
  readonly epoch: number;
  readonly term: number;
}

interface Proposal {
  readonly expectedEpoch: number;
  readonly group: Group;
}

/**
 * The metadata store: one record for each vdisk, linearizable. Requests and answers are late or lost; of those whose answer does not come in time nobody knows
 * whether they were carried out, or still will be.
 */
export class Metadata {
  readonly groups = new Map<string, Group>();
  /** Of vdisks that were recovered by force: whose replica the history goes on from, and which attachments are over. */
  readonly origins = new Map<string, { readonly member: MemberId; readonly generation: number }>();
  /** Of so many requests or answers one is lost, one is very late; 0: none. */
  oneLostIn = 0;
  /** Of vdisks: what records and attachments say. */
  readonly sizes = new Map<string, SizeRecord>();
  readonly #proposals = new Map<string, readonly Proposal[]>();
  readonly #beats = new Map<number, number>();
  isSilent = false;
  /** What this node asks for gets on its way, and no further: until it is delivered. */
  delayed: { readonly node: number; readonly requests: (() => void)[] } | null = null;
  unknown = 0;
  unknownSizes = 0;
  onChanged: () => void = () => undefined;

  constructor(readonly cluster: Cluster) {}

  cas(node: number, vdiskId: string, expectedEpoch: number, group: Group, done: (outcome: CasOutcome) => void): void {
    this.#proposals.set(vdiskId, [...this.#mayFollow(vdiskId), { expectedEpoch, group }]);
    this.#ask<CasOutcome>(
      node,
      () => this.#cas(vdiskId, expectedEpoch, group),
      outcome => {
        if (outcome === null) this.unknown++;
        done(outcome ?? { kind: 'unknown' });
      },
    );
  }

  /** As whoever recovers a vdisk by force writes it (rule 11). `isNew`: it begins a history. */
  recover(vdiskId: string, member: MemberId, generation: number, isNew = true): void {
    const { epoch, historyId } = this.groups.get(vdiskId)!;
    const next = { epoch: epoch + 1, term: epoch + 1, controller: member, members: [member], nonce: `recovered ${epoch + 1}` };
    this.groups.set(vdiskId, { ...next, historyId: isNew ? historyId + 1 : historyId });
    if (isNew) this.origins.set(vdiskId, { member, generation });
    this.onChanged();
  }

  /** Records of the vdisk: the one that is there, and those that were asked for and may still come about. */
  possible(vdiskId: string): readonly Group[] {
    return [this.groups.get(vdiskId)!, ...this.#mayFollow(vdiskId).map(({ group }) => group)];
  }

  #mayFollow(vdiskId: string): readonly Proposal[] {
    const { epoch } = this.groups.get(vdiskId)!;
    return (this.#proposals.get(vdiskId) ?? []).filter(({ expectedEpoch }) => expectedEpoch === epoch);
  }

  /** null: no answer. */
  read(node: number, done: (groups: ReadonlyMap<string, Group> | null) => void): void {
    this.#ask(node, () => new Map(this.groups), done);
  }

  readSize(node: number, vdiskId: string, done: (found: FoundSize | null) => void): void {
    this.#ask(node, () => this.#findSize(vdiskId), done);
  }

  /** null: whether it was done is not known. */
  writeSize(node: number, vdiskId: string, found: FoundSize, sizeBytes: number, done: (isWritten: boolean | null) => void): void {
    const carryOut = (): boolean => {
      const { size, epoch } = this.#findSize(vdiskId);
      if (size.version !== found.size.version || epoch !== found.epoch) return false;
      this.sizes.set(vdiskId, { sizeBytes, version: size.version + 1 });
      const { trace, vdisks } = this.cluster;
      const vdisk = vdisks.findIndex(({ id }) => id === vdiskId);
      trace.add(Sized, vdisk, sizeBytes / BLOCK_BYTES, node);
      this.cluster.sizes.get(vdisks[vdisk]!)!.recorded(sizeBytes);
      return true;
    };
    this.#ask(node, carryOut, isWritten => {
      if (isWritten === null) this.unknownSizes++;
      done(isWritten);
    });
  }

  #findSize(vdiskId: string): FoundSize {
    const { epoch, term } = this.groups.get(vdiskId)!;
    return { size: this.sizes.get(vdiskId)!, epoch, term };
  }

  /** Says that this node lives, and hears which others have said so; null: no answer. */
  beat(node: number, done: (living: readonly number[] | null) => void): void {
    const carryOut = (): number[] => {
      this.#beats.set(node, this.cluster.clock.nowNs);
      return this.living;
    };
    this.#ask(node, carryOut, done);
  }

  /** Nodes that have said so a moment ago. */
  get living(): number[] {
    const { nowNs } = this.cluster.clock;
    return [...this.#beats].filter(([, heardNs]) => nowNs - heardNs < BEAT_MISSED_NS).map(([number]) => number);
  }

  #cas(vdiskId: string, expectedEpoch: number, group: Group): CasOutcome {
    const found = this.groups.get(vdiskId)!;
    if (found.epoch !== expectedEpoch) return { kind: 'refused', group: found };
    this.groups.set(vdiskId, group);
    if ((group.lossTerm ?? 0) > (found.lossTerm ?? 0)) this.cluster.lossMarked(vdiskId, found);
    const { trace, vdisks } = this.cluster;
    const members = group.members.reduce((mask, one) => mask | (1 << numberOf(one)), 0);
    trace.add(
      Changed,
      vdisks.findIndex(({ id }) => id === vdiskId),
      group.epoch,
      group.term,
      numberOf(group.controller),
      members,
    );
    this.onChanged();
    return { kind: 'applied' };
  }

  #ask<T>(node: number, carryOut: () => T, done: (answer: T | null) => void): void {
    const { clock, network, trace } = this.cluster;
    let isOver = false;
    const end = (answer: T | null): void => {
      if (isOver) return;
      isOver = true;
      done(answer);
    };
    clock.after(META_TIMEOUT_NS, () => end(null));
    const isLost = (): boolean => this.isSilent || (this.oneLostIn > 0 && clock.below(this.oneLostIn) === 0);
    // Cut off: what is on its way is lost, or arrives when nobody waits for it any more.
    const travel = (from: number, to: number, arrive: () => void): void => {
      const delayNs = 1 + clock.below(MAX_META_NS) + (this.oneLostIn > 0 && clock.below(this.oneLostIn) === 0 ? clock.below(1.5e9) : 0);
      clock.after(delayNs, () => {
        if (isLost() || (!network.isClear(from, to) && clock.below(2) === 0)) return trace.add(Lost, node, from === 0 ? 1 : 0);
        network.wire(from, to)(arrive);
      });
    };
    const arrive = (): void => {
      const answer = carryOut();
      travel(0, node, () => end(answer));
    };
    if (this.delayed?.node === node) this.delayed.requests.push(arrive);
    else travel(node, 0, arrive);
  }
}
