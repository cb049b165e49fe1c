import type { StargatePath } from '../wire/path.js';
import type { OpenedSession, SessionEnd, SessionRefusal } from '../wire/serving.js';

export type PathLoss = 'lost' | 'hung-up';

/** Who has asked a transport for a path. `onOpened` or `onRefused` or `onEnded` comes first; after `onOpened`, `onEnded` at most once and never after `path.close()`. */
export interface PathListener {
  onOpened(path: StargatePath, session: OpenedSession): void;
  /** `node`: who controls the vdisk, where the refusing Stargate knows it. */
  onRefused(reason: SessionRefusal, message: string, node?: string): void;
  /**
   * 'lost': the connection broke or was silent; the outcome of what is outstanding is unknown, as with 'fenced'. 'hung-up': lost too, and the other end has closed it
   * without a word, as it does when its process dies.
   */
  onEnded(reason: SessionEnd | PathLoss, message: string, node?: string): void;
}

/** A path that is being opened. */
export interface PathAttempt {
  /** Nobody is interested any more: no listener is called from here on. No effect once the path is open: close that. */
  abandon(): void;
}
