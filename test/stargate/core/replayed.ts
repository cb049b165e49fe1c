import { decodeAttachMode, decodeSessionOpen } from '../../../src/stargate/core/head.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { SessionTable } from '../../../src/stargate/core/sessions.js';
import type { CoreRig } from './core-rig.js';

/** What a start makes of the session entries in the log. */
export function replayed(rig: CoreRig): SessionTable {
  const table = new SessionTable();
  for (const { kind, seq, sessionId, clientSeq, part, parts, payload } of rig.log.entries) {
    if (kind === EntryKind.sessionOpen) table.open(seq, decodeSessionOpen(payload));
    if (kind === EntryKind.attachMode) table.setMode(decodeAttachMode(payload));
    if (kind === EntryKind.sessionClose) table.close(sessionId);
    else if (sessionId > 0) table.get(sessionId)?.foundInLog(clientSeq, part, parts);
  }
  return table;
}
