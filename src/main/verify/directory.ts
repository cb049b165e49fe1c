import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createArena, createEngine, type Engine } from 'uring-engine';
import { GatepathError } from '../../base/errors.js';
import type { VdiskRecord } from '../../meta/model.js';
import { verifyMetadata, type VerifiedMetadata } from '../../meta/verify.js';
import { holdDataDirectory, type HeldDirectory } from '../../stargate/data-directory.js';
import { VERIFY_STARGATE_SCRATCH_BYTES, verifyStargate, type VerifiedStargate } from '../../stargate/runtime/verify.js';

/** What is wrong in a data directory, or worth to know. */
export interface Problem {
  readonly severity: 'error' | 'notice';
  /** Stable. */
  readonly code: string;
  /** In the data directory. */
  readonly file: string;
  readonly vdiskId: string | null;
  /** Where the metadata has it. */
  readonly vdisk: string | null;
  /** Of the vdisk; null: as a whole, or not known. */
  readonly offsetBytes: number | null;
  readonly lengthBytes: number | null;
  readonly message: string;
}

export interface VerifyReport {
  readonly directory: string;
  readonly ok: boolean;
  readonly vdisks: number;
  readonly logBytes: number;
  readonly extentBytes: number;
  readonly problems: readonly Problem[];
}

/** With what is held against other nodes'. */
export interface VerifiedNode {
  readonly report: VerifyReport;
  /** Null: its directory does not say. */
  readonly identity: Pick<HeldDirectory, 'storeUuid' | 'clusterId'> | null;
  readonly replicas: VerifiedStargate['replicas'];
}

/** Checks all of a data directory that nobody uses, and changes nothing. Throws GatepathError where there is none, or it is in use. */
export function verifyDirectory(
  directory: string,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  memory: Pick<Engine, 'files' | 'arena'> = verifyMemory(),
): VerifyReport {
  return verifyNode(directory, onProgress, memory).report;
}

/** As {@link verifyDirectory}. */
export function verifyNode(
  directory: string,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  memory: Pick<Engine, 'files' | 'arena'>,
): VerifiedNode {
  let held: HeldDirectory;
  try {
    held = holdDataDirectory(directory);
  } catch (error) {
    if (!(error instanceof GatepathError) || (error.code !== 'ERR_FORMAT' && error.code !== 'ERR_NEWER_FORMAT')) throw error;
    // Without it nobody knows what the rest is.
    const problem = {
      severity: 'error',
      code: 'directory',
      file: 'gatepath.json',
      message: `${error.message}; ${error.action}`,
      ...NO_PLACE,
    } as const;
    const report = { directory, ok: false, vdisks: 0, logBytes: 0, extentBytes: 0, problems: [problem] };
    return { report, identity: null, replicas: new Map() };
  }
  try {
    return verifyHeld(directory, held, onProgress, memory);
  } finally {
    held.lock.release();
  }
}

/** What is read through. */
export function verifyMemory(): Pick<Engine, 'files' | 'arena'> {
  return createEngine({ arena: createArena(VERIFY_STARGATE_SCRATCH_BYTES), kind: 'libuv' });
}

const NO_PLACE = { vdiskId: null, vdisk: null, offsetBytes: null, lengthBytes: null };

function verifyHeld(
  directory: string,
  held: HeldDirectory,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  memory: Pick<Engine, 'files' | 'arena'>,
): VerifiedNode {
  const metadata = held.clusterId === null ? readMetadata(directory) : null;
  const stargate = readStargate(directory, held, metadata, onProgress, memory);
  const nameOf = (id: string | null): string | null => (id === null ? null : (metadata?.vdisks.get(id)?.name ?? null));
  const problems: Problem[] = [];
  const tell = (severity: Problem['severity'], code: string, file: string, vdiskId: string | null, message: string): void =>
    void problems.push({ ...NO_PLACE, severity, code, file, vdiskId, vdisk: nameOf(vdiskId), message });
  for (const { file, message } of held.problems) tell('error', 'directory', file, null, message);
  if (held.removedAt !== null)
    tell('notice', 'directory', 'gatepath.json', null, `its node was removed from its cluster at ${held.removedAt}`);
  for (const { severity, code, key, vdiskId, message } of metadata?.findings ?? []) {
    tell(severity, code, META_FILE, vdiskId, key === '' || message.includes(key) ? message : `${key}: ${message}`);
  }
  // A node that has been registered has metadata.
  if (metadata === null && held.clusterId === null && held.boot.incarnation > 0) {
    tell('error', 'meta-missing', META_FILE, null, 'the metadata is missing: restore the data directory');
  }
  if (metadata !== null) checkAges(held, metadata, stargate, tell);
  for (const { severity, code, file, vdiskId, offsetBytes, lengthBytes, message } of stargate.findings) {
    const place = offsetBytes < 0 ? { offsetBytes: null, lengthBytes: null } : { offsetBytes, lengthBytes };
    problems.push({ severity, code, file: `stargate/${file}`, vdiskId, vdisk: nameOf(vdiskId), ...place, message });
  }
  const { vdisks, logBytes, extentBytes } = stargate;
  const ok = problems.every(({ severity }) => severity !== 'error');
  const report = { directory, ok, vdisks, logBytes, extentBytes, problems };
  return { report, identity: held, replicas: stargate.replicas };
}

const META_FILE = 'meta/data.mdb';

function readMetadata(directory: string): VerifiedMetadata | null {
  const path = join(directory, META_FILE);
  return existsSync(path) ? verifyMetadata(path) : null;
}

function readStargate(
  directory: string,
  held: HeldDirectory,
  metadata: VerifiedMetadata | null,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  { files, arena }: Pick<Engine, 'files' | 'arena'>,
): VerifiedStargate {
  // A damaged record may be of any vdisk: what it would say of one that is missing is not known.
  const isWhole = metadata !== null && metadata.findings.every(({ code }) => code === 'meta-reference');
  const stateOf = (vdisk: VdiskRecord | undefined) => (vdisk === undefined ? 'unknown' : vdisk.deleting ? 'deleting' : 'there');
  return verifyStargate({
    files,
    arena,
    scratchOffset: 0,
    directory: join(directory, 'stargate'),
    streams: held.streams,
    onProgress,
    keepReplicas: held.clusterId !== null,
    ...(isWhole ? { known: (id: string) => stateOf(metadata.vdisks.get(id)) } : {}),
  });
}

/** What was copied back from earlier days, and is whole in itself. */
function checkAges(
  held: HeldDirectory,
  { nodes, groups, vdisks }: VerifiedMetadata,
  { terms }: VerifiedStargate,
  tell: (severity: Problem['severity'], code: string, file: string, vdiskId: string | null, message: string) => void,
): void {
  const { storeUuid, boot } = held;
  for (const node of nodes) {
    if (node.storeUuid !== storeUuid) {
      tell(
        'error',
        'directory-foreign',
        META_FILE,
        null,
        `node "${node.id}" is registered with store ${node.storeUuid}, the directory is ${storeUuid}`,
      );
    } else if (node.incarnation !== boot.incarnation && boot.incarnation !== 0) {
      tell('error', 'directory-age', 'boot.json', null, `it says incarnation ${boot.incarnation}, the metadata ${node.incarnation}`);
    } else if (node.bootCount > boot.bootCount) {
      tell('error', 'directory-age', 'boot.json', null, `it counts ${boot.bootCount} starts, the metadata ${node.bootCount}: it is older`);
    }
  }
  for (const [id, { deleting }] of vdisks) {
    const recorded = groups.get(id)?.term ?? 0;
    const logged = terms.get(id);
    if (deleting) continue;
    if (logged !== undefined && logged > recorded) {
      tell(
        'error',
        'meta-age',
        META_FILE,
        id,
        `its log knows term ${logged}, the metadata term ${recorded}: the metadata is older than the data`,
      );
    }
    // A first start may have been killed between the two.
    if (logged === undefined && recorded > 1)
      tell('error', 'log-missing', 'stargate/oplog', id, `it has been served (term ${recorded}), and the log has nothing of it`);
  }
}
