import type { Group, LogRecord } from '../../../src/stargate/core/replication/effects.js';
import type { Entry, LogTail } from '../../../src/stargate/core/replication/entry.js';

/** What a run must never show. The first thing found ends it. */
export class Violation extends Error {}

/** Sees what every node does, and knows what clients were told. */
export class Checker {
  /** By seq: what was acknowledged, or could be read. */
  readonly #committed: Entry[] = [];
  /** With `durability: flush`: seq → what was answered without being durable, and in which term. */
  readonly #answered = new Map<number, { readonly entry: Entry; readonly term: number }>();
  readonly #contents = new Map<string, number>();
  readonly #controllers = new Map<number, string>();

  get committedSeq(): number {
    return this.#committed.length;
  }

  /** A node stores this, with the record as it is now. */
  stored(who: string, record: LogRecord, group: Group): void {
    if (record.kind === 'promise' && record.promise.term > group.epoch) {
      throw new Violation(`${who} promises term ${record.promise.term}, and the record is at epoch ${group.epoch}`);
    }
    if (record.kind === 'entry') this.#content(who, record.entry);
  }

  #content(who: string, { seq, creationTerm, hash }: Entry): void {
    const key = `${seq}/t${creationTerm}`;
    const known = this.#contents.get(key);
    if (known !== undefined && known !== hash) throw new Violation(`doubled: ${who} has another entry ${key} than there was`);
    this.#contents.set(key, hash);
  }

  /** `process`: a node's start. One of a term that is over may serve what there was then: its own members have fenced it. */
  serving(process: string, term: number, log: LogTail, group: Group): void {
    const other = this.#controllers.get(term);
    if (other !== undefined && other !== process) throw new Violation(`two controllers of term ${term}: ${other} and ${process}`);
    this.#controllers.set(term, process);
    if (term !== group.term) return;
    this.holdsAll(`${process} serves term ${term}`, log);
    this.#holdsAnswered(`${process} serves term ${term}`, log, group);
  }

  /** Clients were told that it is done: the record has to say so when it is lost. A controller that has been followed is not listened to any more. */
  answered(term: number, log: LogTail, fromSeq: number, seq: number): void {
    for (let s = fromSeq; s <= seq; s++) {
      const before = this.#answered.get(s);
      if (before === undefined || before.term <= term) this.#answered.set(s, { entry: log.at(s), term });
    }
  }

  #holdsAnswered(what: string, log: LogTail, { lossTerm = 0 }: Group): void {
    for (const [seq, { entry, term }] of this.#answered) {
      if (seq <= log.lastSeq && log.at(seq).hash === entry.hash) continue;
      if (lossTerm <= term)
        throw new Violation(`lost untold: ${what}, and its log lacks ${text(entry)}, which was answered in term ${term}`);
      this.#answered.delete(seq);
    }
  }

  /** The controller has told clients so, and lets them read it. */
  committed(process: string, log: LogTail, fromSeq: number, seq: number): void {
    for (let s = fromSeq; s <= seq; s++) {
      const entry = log.at(s);
      const known = this.#committed[s - 1];
      if (known === undefined) this.#committed.push(entry);
      else if (known.hash !== entry.hash) throw new Violation(`lost: ${process} commits ${text(entry)}, and ${text(known)} was committed`);
    }
  }

  holdsAll(what: string, log: LogTail): void {
    for (const entry of this.#committed) {
      const found = entry.seq <= log.lastSeq ? log.at(entry.seq) : null;
      if (found?.hash === entry.hash) continue;
      throw new Violation(`lost: ${what}, and its log has ${found === null ? 'nothing' : text(found)} where ${text(entry)} was committed`);
    }
  }

  /** After everything has come to rest. */
  equal(who: string, log: LogTail, other: string, otherLog: LogTail): void {
    const seq = Math.min(log.lastSeq, otherLog.lastSeq);
    if (log.lastSeq === otherLog.lastSeq && log.lastHash === otherLog.lastHash) return;
    throw new Violation(
      `divergent: ${who} ends at ${log.lastSeq}, ${other} at ${otherLog.lastSeq}; equal at ${seq}: ${log.holds(seq, otherLog.hashAt(seq))}`,
    );
  }
}

const text = ({ seq, creationTerm, body }: Entry): string => `${seq}/t${creationTerm}:${String(body)}`;
