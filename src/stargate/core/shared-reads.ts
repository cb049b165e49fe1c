import assert from 'node:assert/strict';
import type { PathRequest } from '../../wire/path.js';
import type { Controller } from './controller.js';
import { MAX_WAITING_REQUESTS } from './limits.js';
import type { ControllerPath } from './path.js';

interface Waiting {
  readonly request: PathRequest;
  readonly path: ControllerPath;
}

/**
 * Reads while two attachments share the vdisk (rule 18). What the other one's datapath has seen is not known here, so the floor of rule 17 does not help: each read waits
 * until everyone whose ack a commit needs has said, after the read has come, that this is still its controller. One round at a time; those that come while one is
 * under way share the next. They hold nothing meanwhile, and are read when the round is over: whatever is committed then is new enough.
 */
export class SharedReads {
  /** Waits for the round that is under way; for the next one. */
  #asked: Waiting[] = [];
  #next: Waiting[] = [];
  #isUnderWay = false;

  constructor(readonly controller: Controller) {}

  add(request: PathRequest, path: ControllerPath): void {
    assert(this.#asked.length + this.#next.length < MAX_WAITING_REQUESTS, 'sessions send more than their windows');
    this.#next.push({ request, path });
    if (!this.#isUnderWay) this.#want();
  }

  /** The members are being asked now: what comes from here on is for another round. */
  begun(): void {
    this.#asked = this.#asked.concat(this.#next);
    this.#next = [];
  }

  confirmed(): void {
    const ready = this.#asked;
    this.#asked = [];
    this.#isUnderWay = false;
    if (this.#next.length > 0) this.#want();
    for (const { request, path } of ready) if (path.isOpen) this.controller.read(request, path);
  }

  forget(path: ControllerPath): void {
    this.#asked = this.#asked.filter(one => one.path !== path);
    this.#next = this.#next.filter(one => one.path !== path);
  }

  #want(): void {
    this.#isUnderWay = true;
    this.controller.host.confirm!();
  }
}
