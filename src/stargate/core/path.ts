import { Blocker, type PathRequest, type StargatePath } from '../../wire/path.js';
import type { SessionListener } from '../../wire/serving.js';
import type { Controller } from './controller.js';
import type { SessionState } from './sessions.js';

/** A session's way into its controller in the same shard: direct calls. */
export class ControllerPath implements StargatePath {
  readonly kind = 'same-shard' as const;
  isOpen = true;

  constructor(
    readonly controller: Controller,
    readonly session: SessionState,
    readonly listener: SessionListener,
  ) {}

  submit(request: PathRequest): void {
    this.controller.submit(request, this);
  }

  release(request: PathRequest): void {
    this.controller.reads.release(request);
  }

  blockedBy(): Blocker {
    return this.controller.host.blockedBy?.() ?? Blocker.unknown;
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.controller.forget(this);
  }

  /** The controller ends it: the session is over, or the controller is. */
  end(reason: 'closed' | 'fenced', node?: string): void {
    if (!this.isOpen) return;
    this.close();
    this.listener.onEnded(reason, node);
  }
}
