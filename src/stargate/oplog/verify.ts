import type { Arena, FileSystem } from 'uring-engine';
import { OplogError } from './errors.js';
import { MAX_BATCH_BYTES, parseName, segmentName } from './layout.js';
import { PAGE_BYTES } from './limits.js';
import type { RecoveryVisitor } from './options.js';
import { recover, type Recovered } from './recovery.js';
import type { Segment } from './segment.js';

export interface OplogFinding {
  /** `error`: something that was durable is damaged or missing. `notice`: to know, nothing to do. */
  readonly severity: 'error' | 'notice';
  /** Stable: oplog-rot, oplog-chain, oplog-duplicate, oplog-torn, oplog-unclean, oplog-unfinished, oplog-foreign, oplog-format. */
  readonly code: string;
  /** Positions in the log, `toLsn` exclusive; -1: not about a range. */
  readonly fromLsn: number;
  readonly toLsn: number;
  /** File name, or ''. */
  readonly segment: string;
  readonly vdisks: readonly string[];
  /** Of the one vdisk, where it is known. */
  readonly blocks: { readonly offsetBytes: number; readonly lengthBytes: number } | null;
  readonly message: string;
}

export interface VerifyOplogOptions {
  readonly files: FileSystem;
  readonly arena: Arena;
  /** {@link VERIFY_OPLOG_SCRATCH_BYTES} of the arena to read through, page-aligned. */
  readonly scratchOffset: number;
  readonly directory: string;
  readonly onProgress?: (readBytes: number, totalBytes: number) => void;
  /** Is given each intact entry. */
  readonly visitor?: RecoveryVisitor;
  /** Is given what a start would find, when all is read. */
  readonly onRead?: (recovered: Pick<Recovered, 'vdisks' | 'report'>) => void;
}

const WINDOW_BYTES = 4 * MAX_BATCH_BYTES;
/** Bytes of the arena that {@link verifyOplog} reads through. */
export const VERIFY_OPLOG_SCRATCH_BYTES = WINDOW_BYTES + PAGE_BYTES;

/** Checks every batch, payload and chain of a stream's directory. Offline: nobody writes meanwhile. Changes nothing. */
export function verifyOplog(options: VerifyOplogOptions): OplogFinding[] {
  const { files, arena, scratchOffset, directory, onProgress, visitor, onRead } = options;
  const findings: OplogFinding[] = [];
  for (const name of files.list(directory)) {
    const { kind } = parseName(name);
    if (kind === 'new') findings.push(notice('oplog-unfinished', name, 'a segment that was being made; the next start removes it'));
    if (kind === 'foreign') findings.push(notice('oplog-foreign', name, 'no file of the log'));
  }
  try {
    const {
      vdisks: logs,
      report,
      live,
      free,
    } = recover({
      files,
      arena,
      directory,
      headerOffset: scratchOffset + WINDOW_BYTES,
      windowOffset: scratchOffset,
      windowBytes: WINDOW_BYTES,
      write: false,
      onProgress,
      visitor,
    });
    findings.push(...duplicates([...live, ...free]));
    for (const { fromLsn, toLsn, segment, vdisks, blocks, message } of report.rot) {
      findings.push({ severity: 'error', code: 'oplog-rot', fromLsn, toLsn, segment, vdisks, blocks, message });
    }
    for (const { vdiskId, broken } of report.broken) {
      if (broken!.cause === 'rot') continue;
      const { lsn, message } = broken!;
      findings.push({
        severity: 'error',
        code: 'oplog-chain',
        fromLsn: lsn,
        toLsn: -1,
        segment: '',
        vdisks: [vdiskId],
        blocks: null,
        message,
      });
    }
    const last = live.at(-1);
    if (last !== undefined && !report.clean) {
      const name = segmentName(last.number);
      findings.push({ ...notice('oplog-unclean', name, 'the log was not closed; the next start recovers it'), fromLsn: report.cutLsn });
      if (report.tornBytes > 0) {
        const torn = notice('oplog-torn', name, 'batches that were being written when it stopped; the next start cuts them');
        findings.push({ ...torn, fromLsn: report.cutLsn, toLsn: report.cutLsn + report.tornBytes });
      }
    }
    for (const segment of [...live, ...free]) files.close(segment.slot);
    onRead?.({ vdisks: logs, report });
  } catch (error) {
    if (!(error instanceof OplogError)) throw error;
    findings.push({ ...notice('oplog-format', '', error.message), severity: 'error' });
  }
  return findings;
}

function notice(code: string, segment: string, message: string): OplogFinding {
  return { severity: 'notice', code, fromLsn: -1, toLsn: -1, segment, vdisks: [], blocks: null, message };
}

/** A file that is there twice: one of them was put there. */
function duplicates(segments: readonly Segment[]): OplogFinding[] {
  const firsts = new Map<string, string>();
  const findings: OplogFinding[] = [];
  for (const { number, header } of segments) {
    const uuid = [header.uuid0, header.uuid1, header.uuid2, header.uuid3].join();
    const name = segmentName(number);
    const first = firsts.get(uuid);
    if (first === undefined) firsts.set(uuid, name);
    else findings.push({ ...notice('oplog-duplicate', name, `a copy of ${first}: remove the one that is older`), severity: 'error' });
  }
  return findings;
}
