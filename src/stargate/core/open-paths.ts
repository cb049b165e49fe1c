import type { SessionEnd, SessionListener } from '../../wire/serving.js';
import type { Controller } from './controller.js';
import { ControllerPath } from './path.js';
import type { SessionState } from './sessions.js';

/** The paths by which sessions come to a vdisk now. One session has one at most. Whoever hears that a path has ended may ask for another one during that call. */
export class OpenPaths {
  readonly #paths = new Set<ControllerPath>();

  constructor(readonly controller: Controller) {}

  /** A path of the session, which nobody else has now. */
  open(session: SessionState, listener: SessionListener): void {
    // Told, and not only closed: which of two connections was the later one is not known here, where one of them was held up on its way.
    this.fence(session);
    const { controller } = this;
    const path = new ControllerPath(controller, session, listener);
    this.#paths.add(path);
    const { term, sizeBytes } = controller.state;
    listener.onOpened(path, { term, sizeBytes });
  }

  fence(session: SessionState): void {
    for (const path of [...this.#paths]) if (path.session === session) path.end('fenced');
  }

  /** Its user has given up what paths the session had. */
  close(session: SessionState): void {
    for (const path of [...this.#paths]) if (path.session === session) path.close();
  }

  end(session: SessionState): void {
    for (const path of [...this.#paths]) if (path.session === session) path.end('closed');
  }

  endAll(reason: SessionEnd, node?: string): void {
    for (const path of [...this.#paths]) path.end(reason, node);
  }

  /** The path is closed. */
  forget(path: ControllerPath): void {
    this.#paths.delete(path);
  }
}
