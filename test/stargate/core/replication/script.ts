import type { Effect, Group, RecoveredLog, ReplicationMutations } from '../../../../src/stargate/core/replication/effects.js';
import type { MemberId } from '../../../../src/stargate/core/replication/entry.js';
import type { Message } from '../../../../src/stargate/core/replication/messages.js';
import { Replica } from '../../../../src/stargate/core/replication/replica.js';
import { nodeOfMember } from '../../../../src/wire/replicate.js';
import { makeEntry, taggedBody } from '../../../sim/cluster/body.js';
import { Checker } from '../../../sim/cluster/checker.js';
import { describeEffect, describeGroup, describeMessage } from '../../../sim/cluster/describe.js';
import { SimDisk } from '../../../sim/cluster/disk.js';
import { SimMetadata } from '../../../sim/cluster/metadata.js';

interface Sent {
  readonly from: MemberId;
  readonly to: MemberId;
  readonly message: Message;
}

interface Node {
  disk: SimDisk;
  replica: Replica | null;
  boots: number;
  readonly cas: Extract<Effect, { kind: 'cas' }>[];
  /** Proposals that have been lost so far. */
  readonly late: Extract<Effect, { kind: 'cas' }>[];
  committed: number;
}

/**
 * Runs a script of events over the replicas of a group and writes down what they do. Lines with ">" are events, those after them what follows.
 *
 *   > group a b c        the record names them; each starts with an empty log.  > needs 2: with fewer members writes wait
 *   > take over a        then: read a, cas a | cas a unanswered | cas a lost
 *   > take over a instead of b;  > hand over a b;  > leave a;  > surplus c a [copy]: c has no place in the group that a controls
 *   > late a             a proposal of a that was lost is carried out after all
 *   > write a w1
 *   > confirm a          a round of rule 18;  > seen a: it hears of the record as it is
 *   > sync a             what a has under way is durable
 *   > deliver a b [kind] all that is between them this way; "drop a b [kind]" loses it
 *   > settle [but c]     all disks, messages and the metadata store, until nothing is left; nothing goes to or from c
 *   > crash a 1 torn     one record that was not durable is kept, the next is damaged;  > start a;  > tear a: its last durable record is damaged;  > lose a: it is gone, without a trace
 *   > tick 800           of all;  > add a d;  > closed a c;  > log a;  > alive a b c: the metadata shows a that b and c live;  > drained b: all know that b is;  > removing b [1]: that it goes for good, when others have so many copies
 */
export class ReplicationScript {
  readonly lines: string[] = [];
  readonly #nodes = new Map<MemberId, Node>();
  #checker = new Checker();
  #sent: Sent[] = [];
  #metadata = new SimMetadata({ epoch: 1, term: 0, controller: 'a' as MemberId, members: [], nonce: 'placed', historyId: 1 });
  #nowMs = 0;
  #minMembers = 1;
  #nonces = 0;

  constructor(readonly mutations: ReplicationMutations = {}) {}

  run(text: string): string {
    for (const line of text.split('\n')) {
      if (line.startsWith('#') || line === '') this.lines.push(line);
      if (!line.startsWith('> ')) continue;
      this.lines.push(line);
      const words = line.slice(2).replace('take over', 'takeOver').replace('hand over', 'handOver').replace('instead of ', '').split(' ');
      this.#event(words[0]!, words[1] as MemberId, words.slice(2));
    }
    return this.lines.join('\n');
  }

  #event(verb: string, id: MemberId, rest: string[]): void {
    const other = rest[0] as MemberId;
    if (verb === 'group') this.#begin([id, ...(rest as MemberId[])]);
    else if (verb === 'needs') this.#needs(Number(id));
    else if (verb === 'takeOver') this.#step(id, { kind: 'takeOver', ...(other === undefined ? {} : { insteadOf: other }) });
    else if (verb === 'handOver') this.#step(id, { kind: 'handOver', to: other });
    else if (verb === 'surplus') this.#step(id, { kind: 'surplus', controller: other, what: rest[1] === 'copy' ? 'copy' : 'tail' });
    else if (verb === 'leave') this.#step(id, { kind: 'leave' });
    else if (verb === 'write') this.#step(id, { kind: 'write', body: taggedBody(other) });
    else if (verb === 'confirm') this.#step(id, { kind: 'confirm' });
    else if (verb === 'seen') this.#step(id, { kind: 'recordSeen', term: this.#metadata.group.term });
    else if (verb === 'sync') this.#sync(id);
    else if (verb === 'deliver')
      this.#deliver(one => one.from === id && one.to === other && (rest[1] ?? one.message.kind) === one.message.kind);
    else if (verb === 'drop') this.#drop(id, other, rest[1]);
    else if (verb === 'late') this.#late(id);
    else if (verb === 'cas') this.#cas(id, rest[0]);
    else if (verb === 'settle') this.#settle(rest as MemberId[]);
    else if (verb === 'crash') this.#crash(id, Number(rest[0] ?? 0), rest[1] === 'torn');
    else if (verb === 'tear') this.#nodes.get(id)!.disk.tearDurable();
    else if (verb === 'lose') this.#nodes.get(id)!.disk.loseDurable();
    else if (verb === 'start') this.#start(id);
    else if (verb === 'tick') this.#tick(Number(id));
    else if (verb === 'add') this.#step(id, { kind: 'addMember', member: other });
    else if (verb === 'alive') this.#step(id, { kind: 'alive', members: rest as MemberId[] });
    else if (verb === 'drained') for (const one of this.#nodes.keys()) this.#step(one, { kind: 'drained', nodes: [id, ...rest] });
    else if (verb === 'removing') {
      const removals = new Map<string, number>([[id, Number(rest[0] ?? 3)]]);
      for (const one of this.#nodes.keys()) this.#step(one, { kind: 'removals', removals });
    } else if (verb === 'closed') this.#step(id, { kind: 'nodeClosed', node: nodeOfMember(other) });
    else if (verb === 'log') this.#say(`${id}: ${this.#log(id)}`);
    else throw new Error(`script: unknown event "${verb}"`);
  }

  #say(line: string): void {
    this.lines.push(line);
  }

  #needs(members: number): void {
    this.#minMembers = members;
    this.#begin([...this.#nodes.keys()]);
  }

  #begin(members: MemberId[]): void {
    this.#nodes.clear();
    this.#sent = [];
    this.#checker = new Checker();
    this.#metadata = new SimMetadata({ epoch: 1, term: 0, controller: members[0]!, members, nonce: 'placed', historyId: 1 });
    for (const id of members) this.#start(id);
  }

  #start(id: MemberId): void {
    if (!this.#nodes.has(id)) this.#nodes.set(id, { disk: new SimDisk(), replica: null, boots: 0, cas: [], late: [], committed: 0 });
    const node = this.#nodes.get(id)!;
    const recovered: RecoveredLog = node.disk.recover();
    const config = {
      historyId: 1,
      replicationFactor: this.#metadata.group.members.length,
      minMembers: this.#minMembers,
      makeEntry,
      mutations: this.mutations,
    };
    node.replica = new Replica({ ...config, self: id, newNonce: () => `nonce-${++this.#nonces}` }, recovered);
    node.boots++;
    node.cas.length = 0;
    node.replica.step({ kind: 'tick', nowMs: this.#nowMs });
    if (node.boots > 1)
      this.#say(`${id}: log to ${recovered.entries.length}, promised t${recovered.promise?.term ?? 0}${recovered.isTorn ? ', torn' : ''}`);
  }

  #crash(id: MemberId, kept: number, isTorn: boolean): void {
    const node = this.#nodes.get(id)!;
    node.disk.crash(kept, isTorn);
    node.replica = null;
    this.#sent = this.#sent.filter(one => one.from !== id && one.to !== id);
  }

  #tick(ms: number): void {
    this.#nowMs += ms;
    for (const id of this.#nodes.keys()) this.#step(id, { kind: 'tick', nowMs: this.#nowMs });
  }

  #step(id: MemberId, event: Parameters<Replica['step']>[0]): void {
    const { replica } = this.#nodes.get(id)!;
    for (const effect of replica?.step(event) ?? []) {
      this.#say(`${id}: ${describeEffect(effect)}`);
      this.#run(id, effect);
    }
  }

  #run(id: MemberId, effect: Effect): void {
    const node = this.#nodes.get(id)!;
    const { log } = node.replica!.member;
    if (effect.kind === 'send') this.#sent.push({ from: id, to: effect.to, message: effect.message });
    else if (effect.kind === 'persist') {
      this.#checker.stored(id, effect.record, this.#metadata.group);
      node.disk.write(effect);
    } else if (effect.kind === 'discard') {
      node.disk = new SimDisk();
      node.replica = null;
    } else if (effect.kind === 'cas') node.cas.push(effect);
    else if (effect.kind === 'readGroup') this.#step(id, { kind: 'group', readId: effect.readId, group: this.#metadata.group });
    else if (effect.kind === 'serving') {
      node.committed = 0;
      this.#checker.serving(`${id} (start ${node.boots})`, effect.term, log, this.#metadata.group);
    } else if (effect.kind === 'committed') {
      this.#checker.committed(id, log, node.committed + 1, effect.seq);
      node.committed = effect.seq;
    }
  }

  #sync(id: MemberId): void {
    const { disk } = this.#nodes.get(id)!;
    const ticket = disk.sync();
    if (ticket > 0) this.#step(id, { kind: 'durable', ticket });
  }

  #deliver(which: (one: Sent) => boolean): boolean {
    const now = this.#sent.filter(which);
    this.#sent = this.#sent.filter(one => !now.includes(one));
    for (const { from, to, message } of now) {
      this.#say(`   ${from} => ${to} ${describeMessage(message)}`);
      if (this.#nodes.has(to)) this.#step(to, { kind: 'message', message });
    }
    return now.length > 0;
  }

  #late(id: MemberId): void {
    const { group, expectedEpoch } = this.#nodes.get(id)!.late.shift()!;
    if (this.#metadata.cas(expectedEpoch, group).kind === 'applied') this.#say(`   record: ${describeGroup(group)}`);
  }

  #drop(from: MemberId, to: MemberId, kind?: string): void {
    this.#sent = this.#sent.filter(one => one.from !== from || one.to !== to || (kind !== undefined && one.message.kind !== kind));
  }

  /** `how` unanswered: it is applied, and no answer comes; lost: it is not applied yet, and no answer comes. */
  #cas(id: MemberId, how?: string): void {
    const effect = this.#nodes.get(id)!.cas.shift();
    if (effect === undefined) return this.#say('   nothing is proposed');
    if (how === 'lost') this.#nodes.get(id)!.late.push(effect);
    const { group, expectedEpoch } = effect;
    const before: Group = this.#metadata.group;
    const outcome = how === 'lost' ? null : this.#metadata.cas(expectedEpoch, group);
    if (this.#metadata.group !== before) this.#say(`   record: ${describeGroup(group)}`);
    const told = how === undefined && outcome !== null ? outcome : ({ kind: 'unknown' } as const);
    this.#step(id, { kind: 'casResult', nonce: group.nonce, outcome: told });
  }

  #settle(but: readonly MemberId[]): void {
    for (let rounds = 0, moved = true; moved; rounds++) {
      if (rounds > 100) throw new Error('script: it does not settle');
      moved = false;
      for (const [id, node] of this.#nodes) {
        if (but.includes(id)) continue;
        if (node.disk.underWay > 0 && node.replica !== null) {
          this.#sync(id);
          moved = true;
        }
        if (node.cas.length > 0) {
          this.#cas(id);
          moved = true;
        }
      }
      if (this.#deliver(({ from, to }) => !but.includes(from) && !but.includes(to))) moved = true;
    }
  }

  #log(id: MemberId): string {
    const { log } = this.#nodes.get(id)!.replica!.member;
    return log
      .slice(1, log.lastSeq)
      .map(({ seq, creationTerm, body }) => `${seq}/t${creationTerm}:${String(body)}`)
      .join(' ');
  }
}
