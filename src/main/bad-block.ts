import type { EventSink } from '../base/events.js';
import type { Logger } from '../base/log.js';
import type { BadBlock } from '../stargate/messages.js';

/** Tells of blocks that no node has whole: in the log, where nobody hears of events. */
export function tellBadBlock({ errno, ...block }: BadBlock, events: EventSink | undefined, log: Logger): void {
  const { vdiskId, ...place } = block;
  const cause =
    errno === 0
      ? 'blocks are damaged, and no other node has them: reads of them fail'
      : 'blocks cannot be read: the disk gives errors, and no other node has them';
  const event = { kind: 'rot-found', severity: 'error', vdiskId, cause, details: { ...place, errno } } as const;
  if (events === undefined) log.log('error', cause, { ...block, errno });
  else events.emit({ ...event, action: 'replace the disk if there are more of them' });
}
