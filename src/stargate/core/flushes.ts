import assert from 'node:assert/strict';
import type { PathRequest } from '../../wire/path.js';
import { IoStatus } from '../../wire/status.js';
import type { Controller } from './controller.js';
import { tagOf } from './flights.js';
import type { ControllerPath } from './path.js';
import { EntryKind } from './ports.js';
import type { SessionState } from './sessions.js';

interface Waiting {
  readonly request: PathRequest;
  readonly path: ControllerPath;
  /** It is answered when everything up to this entry is on stable storage. */
  readonly seq: number;
}

const NOTHING = new Uint8Array(0);

/**
 * Rule 27, `durability: flush`: changes are committed when they are held, in the log's memory; FLUSH, and a change with FUA, wait for the disk.
 *
 * What is in memory alone goes with the process, and whoever starts next has to know whether there can have been any: the log on the disk tells. A HEAD as its last
 * entry says that there was none. So behind a HEAD nothing is committed early until an entry behind it is on the disk; and a vdisk that rests ends in a HEAD, since
 * that ends each drain round.
 */
export class Flushes {
  /** Entries up to this one are in the log's memory. */
  #heldSeq: number;
  #waiting: Waiting[] = [];
  /** The last HEAD that is committed. */
  #headSeq: number;
  /** `lossTerm` of a loss that the log does not tell of yet; 0: none. */
  #untoldTerm = 0;

  constructor(readonly controller: Controller) {
    this.#heldSeq = this.#headSeq = controller.durableSeq;
  }

  /** Where several nodes hold the log: its first entry tells of a loss, before anybody opens a session. */
  tellOfLoss(lossTerm: number): void {
    this.#untoldTerm = lossTerm;
    this.onLogSpace();
  }

  mustTellFirst(kind: EntryKind): boolean {
    return this.#untoldTerm > 0 && kind !== EntryKind.memoryLost;
  }

  onLogSpace(): void {
    const term = this.#untoldTerm;
    if (term === 0) return;
    const { sessions } = this.controller;
    const commit = { onControlCommitted: () => sessions.memoryLost(term) };
    if (this.controller.appendControl(EntryKind.memoryLost, NOTHING, 0, commit, term)) this.#untoldTerm = 0;
  }

  /** Where several nodes hold the log, whoever controls the vdisk next is not to tell it again. Without room it is tried with the next request. */
  heardOfLoss(session: SessionState): void {
    const { controller } = this;
    if (controller.state.isReplicated !== true) session.hasHeardOfLoss = false;
    else if (controller.appendControl(EntryKind.lossHeard, NOTHING, session.id, null)) session.hasHeardOfLoss = false;
  }

  /** In the order of `append`: see LogOwner. */
  onHeld(tag: number, payloadOffset: number, payloadCrc: number): void {
    const { controller } = this;
    if (!controller.hearsOfCommits) return;
    const { flights } = controller;
    const seq = ++this.#heldSeq;
    assert(seq <= controller.lastSeq && tag === tagOf(seq), 'entries are held in order');
    const at = flights.at(seq);
    flights.payloadOffset[at] = payloadOffset;
    flights.payloadCrc[at] = payloadCrc;
    this.#commitHeld();
  }

  onDurable(): void {
    this.#commitHeld();
    this.#answerCovered();
  }

  onCommitted(seq: number, kind: EntryKind): void {
    if (kind === EntryKind.head) this.#headSeq = seq;
  }

  /** FLUSH: of everything that is answered by now, on whichever session. */
  flush(request: PathRequest, path: ControllerPath): void {
    const { controller } = this;
    if (path.session.tellLoss(request.clientSeq, path)) controller.answer(request, IoStatus.lost);
    else this.answerDurable(request, path, controller.committedSeq);
  }

  /** Answered with ok when entry `seq`, a committed one, is on stable storage. */
  answerDurable(request: PathRequest, path: ControllerPath, seq: number): void {
    if (seq <= this.controller.durableSeq) this.controller.answer(request, IoStatus.ok);
    else this.#waiting.push({ request, path, seq });
  }

  forget(path: ControllerPath): void {
    this.#waiting = this.#waiting.filter(one => one.path !== path);
  }

  /** Entries that are held are committed at once where that is enough, in order. */
  #commitHeld(): void {
    const { controller } = this;
    const { flights } = controller;
    while (flights.count > 0) {
      const at = flights.at(flights.firstSeq);
      if (!this.#mayCommit(flights.firstSeq, flights.kind[at]!)) return;
      controller.commit(flights.payloadOffset[at]!, flights.payloadCrc[at]!);
    }
  }

  /** Whether the entry, the next one to be committed, need not be on the disk for that. */
  #mayCommit(seq: number, kind: EntryKind): boolean {
    if (seq > this.#heldSeq) return false;
    const isData = kind === EntryKind.write || kind === EntryKind.zero || kind === EntryKind.trim || kind === EntryKind.fullImage;
    return isData && this.controller.durableSeq > this.#headSeq;
  }

  #answerCovered(): void {
    if (this.#waiting.length === 0) return;
    const { controller } = this;
    const isCovered = ({ seq }: Waiting): boolean => seq <= controller.durableSeq;
    if (!this.#waiting.some(isCovered)) return;
    const covered = this.#waiting.filter(isCovered);
    this.#waiting = this.#waiting.filter(one => !isCovered(one));
    for (const { request, path } of covered) if (path.isOpen) controller.answer(request, IoStatus.ok);
  }
}
