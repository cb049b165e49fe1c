import type { OplogUsage } from '../core/ports.js';
import * as limits from './limits.js';
import type { SegmentPreparer } from './preparer.js';
import type { LogSpace } from './space.js';

/** Where a log ends. */
export interface LogEnds {
  /** With what is in the open batch. */
  readonly appendedLsn: number;
  readonly durableLsn: number;
}

/** How full the log is. A class: an object literal with getters is slow to read from, and this is read for each write. */
export class Usage implements OplogUsage {
  constructor(
    private readonly space: LogSpace,
    private readonly preparer: SegmentPreparer,
    private readonly ends: LogEnds,
  ) {}

  get capacityBytes(): number {
    const { space } = this;
    const segments = this.preparer.full ? Math.min(space.total, space.maxSegments) : space.maxSegments;
    return (segments - limits.RESERVED_SEGMENTS) * space.tail.dataBytes;
  }

  get usedBytes(): number {
    return this.space.usedBytes(this.ends.appendedLsn);
  }

  get oldestSegmentEndLsn(): number {
    return Math.min(this.space.live[0]!.endLsn, this.ends.appendedLsn);
  }

  get endLsn(): number {
    return this.ends.appendedLsn;
  }

  get durableLsn(): number {
    return this.ends.durableLsn;
  }
}
