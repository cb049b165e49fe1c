import { encodeRecord } from '../core/head.js';
import { BlockIndex } from '../core/block-index.js';
import {
  Controller,
  type ControllerHost,
  type ControllerMutations,
  type ControllerPorts,
  type Durability,
  type VdiskState,
} from '../core/controller.js';
import { EntryKind, type BlockStorePort, type LayerId, type StoreOwner } from '../core/ports.js';
import { SessionTable } from '../core/sessions.js';
import type { OplogStream, StreamVdiskLog } from '../oplog/index.js';
import type { MemberId } from '../../wire/replicate.js';
import type { SpaceRule } from '../core/space-rule.js';
import type { RecoveredVdisk } from './recovery.js';

/** What the metadata says of a vdisk that this node is to serve. */
export interface VdiskDescription {
  readonly vdiskId: string;
  /** Where the log does not say another one. */
  readonly sizeBytes: number;
  readonly historyId: number;
  /** New at each start: won in the metadata store (rule 7). */
  readonly term: number;
  readonly nonce: string;
  /** `always`, where it is missing. */
  readonly durability?: Durability;
  /** Other nodes hold it too, or will: its term is won when one of them is asked for it. */
  readonly group?: {
    readonly replicationFactor: number;
    readonly minMembers: number;
    /** Of the record; not known in which incarnation, where it is no member. */
    readonly controller: MemberId;
    /** The record names this node, or its controller wants it. Otherwise it may hold a replica from before. */
    readonly isMember: boolean;
    /** The record does not name it, and its controller brings it up: nobody needs what it has. */
    readonly isLearner?: boolean;
    /** The history goes on from this node's replica, whatever that one is of (rule 11); attachments up to this generation are over. */
    readonly origin?: { readonly generation: number } | null;
  };
}

/** Why a vdisk is not served though it exists. */
export interface VdiskProblem {
  readonly vdiskId: string;
  readonly message: string;
}

export interface OpenVdiskOptions {
  readonly description: VdiskDescription;
  readonly nodeId: string;
  readonly stream: OplogStream;
  readonly ports: ControllerPorts;
  readonly recovered: RecoveredVdisk | undefined;
  /** Why a vdisk of which the log has no entry may have lost something all the same, or ''. */
  readonly mayBeLost: string;
  /** The stream was closed: nothing that was in its memory is missing in it. */
  readonly wasClosed: boolean;
  readonly cacheOwner: number;
  readonly host: ControllerHost;
  /** Of the stream. */
  readonly isOutOfSpace: () => boolean;
  readonly rule: SpaceRule;
  readonly mutations?: ControllerMutations;
  readonly onServing: (controller: Controller, log: StreamVdiskLog) => void;
  readonly onProblem: (problem: VdiskProblem) => void;
}

/**
 * From what recovery found to a controller that serves. Crash order of a new vdisk: (1) its layer is durable in the block store; (2) PROMISE and a first HEAD
 * that names the layer are durable in the log; (3) it serves. A crash before (2) leaves a layer without data, which is taken up again.
 * At every later start a PROMISE of the new term comes first: from there on entries of older terms are refused. The HEAD behind it says which sessions have to hear
 * that memory was lost (rule 27): it is durable before anything is served, so a start that follows, however this one ends, knows it too.
 */
export function openVdisk(options: OpenVdiskOptions): void {
  const { description, stream, ports, recovered, onProblem } = options;
  const { vdiskId, historyId } = description;
  const log = stream.openVdisk(vdiskId, historyId);
  const problem = (message: string): void => onProblem({ vdiskId, message });
  const layer = recovered?.layer ?? ports.store.layersOf(vdiskId).at(-1) ?? null;
  const refused = refusal(options, log, layer);
  if (refused !== null) return problem(refused);
  if (layer !== null) return serve(options, log, layer);
  const owner: StoreOwner = {
    onLayerCreated: (_tag, created) => serve(options, log, created),
    onCommitted: () => undefined,
    onStoreFull: () => problem('the file system is full'),
    onStoreFailed: message => problem(message),
  };
  ports.store.createLayer(vdiskId, owner, 0);
}

/** Why the vdisk is not served, or null: what the log, the block store and the metadata say of it does not fit together. */
function refusal(
  { description, ports, recovered, mayBeLost }: OpenVdiskOptions,
  log: StreamVdiskLog,
  layer: LayerId | null,
): string | null {
  const { term, historyId } = description;
  if (recovered === undefined && log.lastSeq > 0 && log.broken === null) {
    return 'its log was read by this start without being asked for: start the node again';
  }
  const damage = damageOf(log, recovered, layer, ports.store);
  if (damage !== null) return damage;
  if (log.historyId !== historyId) return `its log is of history ${log.historyId}, the metadata knows history ${historyId}`;
  if (log.lastTerm >= term && log.lastSeq > 0) {
    return `its log knows term ${log.lastTerm}, the metadata gives term ${term}: the metadata is older than the data`;
  }
  return log.lastSeq === 0 && mayBeLost !== '' ? mayBeLost : null;
}

/** What is asked of the block store. */
export type StoreFacts = Pick<BlockStorePort, 'layersOf' | 'drainSeq' | 'segments' | 'damagedLayers'>;

/** What recovery alone says of the vdisk, whatever its term: its log is damaged, or does not fit the block store. */
export function damageOf(
  log: StreamVdiskLog,
  recovered: RecoveredVdisk | undefined,
  layer: LayerId | null,
  store: StoreFacts,
): string | null {
  if (log.broken !== null) return `its log is damaged at position ${log.broken.lsn}: ${log.broken.message}`;
  if (recovered !== undefined && recovered.problem !== '') return recovered.problem;
  const head = recovered?.head ?? null;
  if (head === null) {
    if (log.firstSeq > 1) return `entries 1 to ${log.firstSeq - 1} of its log are missing`;
    return layer !== null && hasData(store, layer)
      ? 'its data is there, but its log has no head: the log directory is not the one that belongs to the data'
      : null;
  }
  if (log.firstSeq > head.drainedSeq + 1) return `entries ${head.drainedSeq + 1} to ${log.firstSeq - 1} of its log are missing`;
  if (log.firstSeq === head.drainedSeq + 1 && log.firstPrevHash !== head.drainedHash) {
    return `entry ${log.firstSeq} of its log does not follow what was drained`;
  }
  if (layer === head.layer) return null;
  return store.damagedLayers().includes(head.layer)
    ? `the record of its layer ${head.layer} in the block store is damaged: restore the data directory, or delete the vdisk`
    : `its layer ${head.layer} is not in the block store`;
}

function hasData(store: StoreFacts, layer: LayerId): boolean {
  try {
    return store.segments(layer).length > 0;
  } catch {
    // Damaged records: there was something.
    return true;
  }
}

function serve(options: OpenVdiskOptions, log: StreamVdiskLog, layer: LayerId): void {
  const { description, nodeId, ports, recovered, cacheOwner, host, mutations, onServing } = options;
  const { vdiskId, term, nonce, durability = 'always' } = description;
  const state: VdiskState = {
    vdiskId,
    // The log decides: the metadata may be behind it, or before it.
    sizeBytes: recovered?.sizeBytes ?? description.sizeBytes,
    layer,
    term,
    index: recovered?.index ?? new BlockIndex(),
    sessions: recovered?.sessions ?? new SessionTable(),
    drainedSeq: recovered?.head?.drainedSeq ?? 0,
    drainedHash: recovered?.head?.drainedHash ?? 0,
    ...(recovered === undefined ? {} : { roundEnds: recovered.roundEnds }),
    durability,
    rule: options.rule,
  };
  if (durability === 'flush' && recovered !== undefined && !options.wasClosed && !recovered.endsInHead) state.sessions.memoryLost();
  let steps: (() => boolean)[] = [];
  const goOn = (): void => {
    while (steps.length > 0 && steps[0]!()) steps = steps.slice(1);
  };
  // The log may be full at the start: what it refuses is tried again when it has room.
  const controller = new Controller(ports, state, log, cacheOwner, { ...bind(host, options.isOutOfSpace), onLogRoom: goOn }, mutations);
  const promise = (): boolean => controller.appendControl(EntryKind.promise, encodeRecord({ term, controller: nodeId, nonce }), 0, null);
  const onCommitted = (): void => {
    onServing(controller, log);
    if (state.sizeBytes !== description.sizeBytes) host.onSized?.(controller);
  };
  const head = (): boolean =>
    controller.appendControl(EntryKind.head, encodeRecord(controller.head(state.drainedSeq, state.drainedHash)!), 0, {
      onControlCommitted: onCommitted,
    });
  steps = [promise, head];
  goOn();
}

function bind(host: ControllerHost, isOutOfSpace: () => boolean): ControllerHost {
  return {
    onLogFailed: errno => host.onLogFailed(errno),
    onBadBlock: (vdiskId, offsetBytes, errno, lengthBytes) => host.onBadBlock(vdiskId, offsetBytes, errno, lengthBytes),
    onCommitted: controller => host.onCommitted(controller),
    onSized: controller => host.onSized?.(controller),
    isOutOfSpace,
  };
}
