import assert from 'node:assert/strict';
import type { SessionListener, SessionRequest } from '../../wire/serving.js';
import type { Controller } from './controller.js';
import { encodeRecord } from './head.js';
import { MAX_WAITING_SESSION_CHANGES } from './limits.js';
import { EntryKind } from './ports.js';
import type { AttachMode, SessionState } from './sessions.js';

interface Change {
  readonly start: () => void;
  readonly refuse: () => void;
}

/** An entry that changes the sessions, and those that it ends. */
interface ChangeEntry extends Pick<Change, 'refuse'> {
  readonly kind: EntryKind;
  readonly record?: Uint8Array;
  readonly sessionId?: number;
  readonly over?: readonly SessionState[];
}

const NOTHING = new Uint8Array(0);
const notServed = (listener: SessionListener): void => listener.onRefused('not-served', 'the vdisk is not served now');

/**
 * Opens and closes the sessions of one vdisk, one entry at a time: what is checked when an entry gets its seq is still true when it is committed, and true for
 * whoever replays the log. From the seq on, no change of a session that the entry ends gets a place in the log (rule 14).
 */
export class SessionChanges {
  readonly #waiting: Change[] = [];
  /** Whose entry is in the log and not committed yet. */
  #inLog: Pick<Change, 'refuse'> | null = null;

  constructor(readonly controller: Controller) {}

  open(request: SessionRequest, listener: SessionListener): void {
    this.#add({ start: () => this.#open(request, listener), refuse: () => notServed(listener) }, () =>
      listener.onRefused('busy', 'too many sessions are being opened at once'),
    );
  }

  close(request: SessionRequest, done: () => void): void {
    // At once, also if others go first: nothing of it is admitted any more.
    const session = this.controller.sessions.find(request);
    if (session !== undefined) this.controller.paths.close(session);
    this.#add({ start: () => this.#close(request, done), refuse: done }, done);
  }

  /** The controller serves no longer. What is in the log is answered when it is committed; or now, where nobody here will hear of that any more. */
  refuseAll(): void {
    for (const { refuse } of this.#waiting.splice(0)) refuse();
    if (this.controller.hearsOfCommits) return;
    this.#inLog?.refuse();
    this.#inLog = null;
  }

  #add(change: Change, tooMany: () => void): void {
    if (!this.controller.isServing) return change.refuse();
    if (this.#inLog === null) return change.start();
    if (this.#waiting.length === MAX_WAITING_SESSION_CHANGES) return tooMany();
    this.#waiting.push(change);
  }

  #open(request: SessionRequest, listener: SessionListener): void {
    const { controller } = this;
    const { sessions } = controller;
    const mode = sessions.modeBefore(request);
    if (mode !== null && sessions.refusal(request) !== 'closed') return this.#changeMode(mode, request, listener);
    const known = sessions.find(request);
    if (known !== undefined) {
      if (controller.state.isReplicated !== true) return controller.paths.open(known, listener);
      return this.#resume(known, request, listener);
    }
    const refusal = sessions.refusal(request);
    if (refusal === 'closed') return listener.onRefused('closed', 'a newer attachment of the vdisk is in use');
    if (refusal === 'busy') return listener.onRefused('busy', 'the vdisk has too many sessions');
    const over = sessions.endedBy(request);
    const { generation, datapathUuid, shard } = request;
    const refuse = (): void => notServed(listener);
    const taken = this.#append(
      { kind: EntryKind.sessionOpen, record: encodeRecord({ generation, datapathUuid, shard }), over, refuse },
      seq => {
        sessions.open(seq, request);
        for (const session of over) controller.paths.end(session);
        if (controller.isServing) controller.paths.open(sessions.get(seq)!, listener);
        else refuse();
      },
    );
    if (!taken) listener.onRefused('busy', 'the log is full for the moment');
  }

  /** First who may do what, then the session: another entry, for which what has happened meanwhile is looked at again. */
  #changeMode(mode: AttachMode, request: SessionRequest, listener: SessionListener): void {
    const { controller } = this;
    const { sessions } = controller;
    const refuse = (): void => notServed(listener);
    const entry = { kind: EntryKind.attachMode, record: encodeRecord(mode), over: sessions.endedByMode(mode), refuse };
    const taken = this.#append(entry, () => {
      for (const session of sessions.setMode(mode)) controller.paths.end(session);
      if (controller.isServing) this.#open(request, listener);
      else refuse();
    });
    if (!taken) listener.onRefused('busy', 'the log is full for the moment');
  }

  /**
   * Only a controller that no other has followed gets an entry committed. And when it is committed, all that came by an earlier path has taken effect or never will:
   * those paths end before it gets its place in the log (rule 19: what a datapath has given up).
   */
  #resume(known: SessionState, request: SessionRequest, listener: SessionListener): void {
    const { controller } = this;
    controller.paths.fence(known);
    const refuse = (): void => notServed(listener);
    const taken = this.#append({ kind: EntryKind.confirm, refuse }, () => {
      const session = controller.sessions.find(request);
      if (session === undefined) listener.onRefused('closed', 'a newer attachment of the vdisk is in use');
      else if (controller.isServing) controller.paths.open(session, listener);
      else refuse();
    });
    if (!taken) listener.onRefused('busy', 'the log is full for the moment');
  }

  #close(request: SessionRequest, done: () => void): void {
    const { controller } = this;
    const session = controller.sessions.find(request);
    if (session === undefined) return done();
    controller.paths.close(session);
    const taken = this.#append({ kind: EntryKind.sessionClose, sessionId: session.id, over: [session], refuse: done }, () => {
      controller.sessions.close(session.id);
      done();
    });
    // Without room the session stays in the table until the next attachment ends it: harmless.
    if (!taken) done();
  }

  /** False: the log has no room. */
  #append({ kind, record = NOTHING, sessionId = 0, over = [], refuse }: ChangeEntry, committed: (seq: number) => void): boolean {
    const { controller } = this;
    assert(this.#inLog === null);
    const commit = {
      onControlCommitted: (seq: number) => {
        this.#inLog = null;
        committed(seq);
        this.#goOn();
      },
    };
    if (!controller.appendControl(kind, record, sessionId, commit)) return false;
    this.#inLog = { refuse };
    controller.freezeSessions(over);
    return true;
  }

  #goOn(): void {
    while (this.#inLog === null && this.#waiting.length > 0) this.#waiting.shift()!.start();
  }
}
