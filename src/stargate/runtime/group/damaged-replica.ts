import { nodeOfMember, type MemberId, type ReplicaMessage } from '../../../wire/replicate.js';
import type { EntryList } from '../../../wire/peers.js';
import { MAX_APPEND_ENTRIES } from '../../../wire/limits.js';
import { ChainWalk, type EntryName } from '../../core/replication/chain-walk.js';
import { decodeCopies, encodeCopies, type HaveEntries, type WantEntries } from '../../core/replication/copy-messages.js';
import type { TermPromise } from '../../core/replication/effects.js';
import type { Entry } from '../../core/replication/entry.js';
import type { OplogStream, StreamVdiskLog } from '../../oplog/index.js';
import type { RecoveredReplica } from '../recovery.js';
import { receivedEntry } from './entries.js';
import { giveEntries } from './entry-copies.js';
import { EntrySender, type EntrySource } from './entry-sender.js';
import { ENTRIES_LOST_MS, ENTRY_RETRY_MS } from './limits.js';
import type { GroupParts } from './parts.js';
import { ReplicaLog, type ReplicaLogHost } from './replica-log.js';

export interface DamagedReplicaOptions {
  readonly parts: GroupParts;
  readonly vdiskId: string;
  readonly stream: OplogStream;
  readonly log: StreamVdiskLog;
  /** What is left; null: nothing. */
  readonly recovered: RecoveredReplica | null;
  /** What is wrong with it. */
  readonly damage: string;
  /** Where its log begins and ends is known: entries of others can make it whole. */
  readonly isUsable: boolean;
  /** What the record says of its controller: no promise that the damage has taken is beyond that. Null: nobody has controlled it. */
  readonly floor: TermPromise | null;
  /** Its log is whole, and that is durable. */
  readonly onWhole: (entries: readonly Entry[], promise: TermPromise | null) => void;
  readonly onProblem: (message: string) => void;
}

interface Ask {
  readonly id: string;
  readonly to: MemberId;
}

/**
 * A replica with a damaged log (rule 5), until it is whole: it promises and acknowledges nothing. What is missing it asks of all nodes, by number and hash; what it has
 * it gives to others that are damaged elsewhere. Crash order: (1) each entry that comes is appended as a copy, durable by itself: the next start finds that much
 * less missing; (2) where a promise may have been lost, what the record says takes its place, durable; (3) it takes part.
 */
export class DamagedReplica implements ReplicaLogHost, EntrySource {
  readonly #entries: Map<number, Entry>;
  /** Null: where the log ends, or begins, is not known. */
  readonly #walk: ChainWalk | null;
  readonly #replicaLog: ReplicaLog;
  readonly #senders = new Map<MemberId, EntrySender>();
  readonly #givers = new Set<string>();
  #promise: TermPromise | null;
  #mayLackPromise: boolean;
  #ask: Ask | null = null;
  #askedMs = -Infinity;
  #turn = 0;
  /** Asked since the last entry came. */
  #fruitless = 0;
  #come = 0;
  /** Since when nothing has come. */
  #sinceMs: number;
  #isToldLost = false;
  #isEnded = false;

  constructor(readonly options: DamagedReplicaOptions) {
    const { parts, stream, log, recovered, isUsable, floor } = options;
    const { lastSeq: seq, lastHash: hash } = log;
    this.#entries = recovered?.entries ?? new Map<number, Entry>();
    this.#walk = isUsable ? new ChainWalk(recovered!.head!.drained, { seq, hash }) : null;
    this.#walk?.takeAll(this.#entries);
    this.#promise = (recovered?.promise ?? null) as TermPromise | null;
    this.#mayLackPromise = log.mayLackPromise && (floor?.term ?? 0) > (this.#promise?.term ?? 0);
    if (this.#mayLackPromise) this.#promise = floor;
    this.#sinceMs = parts.nowMs;
    this.#replicaLog = new ReplicaLog(stream, log, parts.ports.arena, parts.ports.controlScratch, this);
  }

  get parts(): GroupParts {
    return this.options.parts;
  }

  get vdiskId(): string {
    return this.options.vdiskId;
  }

  get stream(): OplogStream {
    return this.options.stream;
  }

  get log(): StreamVdiskLog {
    return this.options.log;
  }

  isHere(entry: Entry): boolean {
    return !this.#isEnded && this.#entries.get(entry.seq) === entry;
  }

  placeOf(): number {
    return -1;
  }

  // ---------------------------------------------------------------- life

  start(): void {
    const { damage, onProblem } = this.options;
    const wanted = this.#walk?.wanted ?? null;
    const isLost = this.isHopeless;
    const why = wanted === null ? damage : this.#what(wanted);
    onProblem(why);
    if (isLost || wanted !== null) {
      this.parts.events.emit({
        kind: 'rot-found',
        severity: isLost ? 'error' : 'warn',
        vdiskId: this.vdiskId,
        cause: isLost ? `the copy on this node cannot be used: ${why}` : `${why}; other nodes are asked for them`,
        action: isLost
          ? 'none while another member serves the vdisk: this copy is brought up anew; else start the nodes that have been members'
          : 'replace the disk if there is more of it',
      });
    }
    if (!isLost) this.#goOn();
  }

  /** The process stops, or something else takes this one's place: asks and gives nothing more. */
  stop(): void {
    this.#isEnded = true;
  }

  /** Others have no entries that would make it whole, as far as they answer. */
  get isHopeless(): boolean {
    return this.#walk === null || this.#walk.isAstray || this.#isToldLost;
  }

  /** Nothing of it is on its way to the log. */
  get isQuiet(): boolean {
    return this.#replicaLog.isQuiet && !this.#replicaLog.isBlocked;
  }

  onTick(nowMs: number): void {
    if (nowMs - this.#askedMs >= ENTRY_RETRY_MS && this.#walk?.wanted != null) this.#askNext();
  }

  onDurable(): void {
    this.#goOn();
  }

  onLogFailed(errno: number): void {
    this.parts.onLogFailed(errno);
  }

  onLogRoom(): void {
    this.#goOn();
  }

  /** What comes next on the way to a whole log. */
  #goOn(): void {
    const walk = this.#walk;
    if (this.#isEnded || walk === null) return;
    if (walk.wanted !== null) return this.#askNext();
    if (walk.isAstray) return this.options.onProblem('its log does not follow what was drained');
    if (!this.isQuiet) return;
    if (this.#mayLackPromise) {
      this.#mayLackPromise = false;
      return this.#replicaLog.persist({ kind: 'promise', promise: this.#promise! }, 0);
    }
    if ((this.#promise?.term ?? 0) < this.log.lastTerm)
      return this.options.onProblem(`its log knows term ${this.log.lastTerm}, the metadata an older one`);
    this.#isEnded = true;
    if (this.#come > 0) this.#tellMended();
    this.options.onWhole(walk.entries(), this.#promise);
  }

  // ---------------------------------------------------------------- what is missing

  #askNext(): void {
    const wanted = this.#walk?.wanted ?? null;
    const sources = this.parts.otherNodes();
    if (this.#isEnded || wanted === null || sources.length === 0) return;
    this.#askedMs = this.parts.nowMs;
    const to = sources[this.#turn++ % sources.length]!;
    this.#ask = { id: this.parts.newNonce(), to };
    if (++this.#fruitless > 2 * sources.length && this.parts.nowMs - this.#sinceMs >= ENTRIES_LOST_MS) this.#tellLost(wanted);
    const data = encodeCopies({ kind: 'wantEntries', id: this.#ask.id, ...wanted });
    this.parts.sender.send(to, this.vdiskId, { kind: 'copies', term: 0, data }, null);
  }

  onMessage(from: MemberId, { data }: Extract<ReplicaMessage, { kind: 'copies' }>, list: EntryList): void {
    const message = decodeCopies(data);
    if (this.#isEnded || message === null) return;
    if (message.kind === 'wantEntries') giveEntries(this, this.#senderTo(from), message, this.#entriesTo(message));
    else if (message.kind === 'haveEntries') this.#take(from, message, list);
  }

  #take(from: MemberId, { id }: HaveEntries, list: EntryList): void {
    if (this.#ask?.id !== id || this.#ask.to !== from) return;
    // Nobody has to be waited for; but nobody is asked again at once who has just said no.
    if (list.count === 0 && this.#fruitless < this.parts.otherNodes().length) return this.#askNext();
    const before = this.#come;
    for (let i = list.count - 1; i >= 0; i--) this.#takeOne(list, i);
    if (this.#come === before) return;
    this.#givers.add(nodeOfMember(from));
    this.#fruitless = 0;
    this.#sinceMs = this.parts.nowMs;
    this.#turn--;
    this.#goOn();
  }

  /** Newest first. One that finds no room now is asked for again. */
  #takeOne(list: EntryList, i: number): void {
    const walk = this.#walk!;
    const { arena } = this.parts.ports;
    const entry = receivedEntry(this.log, arena, list.headerOffset[i]!, list.payloadOffset[i]!, list.payloadBytes[i]!);
    const { wanted } = walk;
    if (entry === null || entry.seq !== wanted?.seq || entry.hash !== wanted.hash) return;
    if (!this.#replicaLog.appendCopy(entry, list.payloadOffset[i]!)) return;
    this.#come++;
    this.#entries.set(entry.seq, entry);
    walk.takeAll(this.#entries);
  }

  // ---------------------------------------------------------------- what is here

  #entriesTo({ seq, hash }: WantEntries): Entry[] {
    const walk = new ChainWalk({ seq: Math.max(0, seq - MAX_APPEND_ENTRIES), hash: 0, term: 0 }, { seq, hash });
    walk.takeAll(this.#entries);
    return walk.entries();
  }

  #senderTo(to: MemberId): EntrySender {
    let sender = this.#senders.get(to);
    if (sender === undefined) this.#senders.set(to, (sender = new EntrySender(this, to)));
    return sender;
  }

  // ---------------------------------------------------------------- what is told

  #what({ seq }: EntryName): string {
    const { log } = this;
    let from = seq;
    while (from - 1 > this.#walk!.base.seq && !this.#entries.has(from - 1)) from--;
    const which = from === seq ? `entry ${seq}` : `entries ${from} to ${seq}`;
    return `${which} of its log, which ends with ${log.lastSeq}, ${from === seq ? 'is' : 'are'} damaged${log.gap === null ? '' : ` (from position ${log.gap.lsn} on)`}`;
  }

  #tellLost(wanted: EntryName): void {
    if (this.#isToldLost) return;
    this.#isToldLost = true;
    const cause = `${this.#what(wanted)}, and no other node that answers has ${wanted.seq}`;
    this.options.onProblem(cause);
    const action = 'start the nodes that are away; while another member serves the vdisk, this copy is brought up anew';
    this.parts.events.emit({ kind: 'rot-found', severity: 'error', vdiskId: this.vdiskId, cause, action, details: { entry: wanted.seq } });
  }

  #tellMended(): void {
    const nodes = [...this.#givers].map(node => `"${node}"`).join(', ');
    const cause = `${this.#come} damaged entries of the log were brought from ${nodes}: the copy on this node is whole`;
    this.parts.events.emit({ kind: 'rot-mended', severity: 'warn', vdiskId: this.vdiskId, cause, details: { entries: this.#come } });
  }
}
