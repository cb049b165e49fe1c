import type { EventDraft } from '../../base/events.js';
import type { BlockStorePort } from '../core/ports.js';
import type { LayerRemoval } from '../extents/index.js';
import type { Delays } from './delays.js';
import type { Groups } from './group/groups.js';
import type { GroupVdisk } from './group/group-vdisk.js';
import { NewHistory } from './group/new-history.js';
import { QUIET_POLL_NS } from './limits.js';
import type { Refusals } from './refusals.js';
import type { ShardStream } from './streams.js';
import type { VdiskDescription } from './vdisks.js';

export interface HistoriesOptions {
  readonly groups: Groups;
  readonly store: BlockStorePort;
  readonly removal: LayerRemoval;
  readonly refusals: Refusals;
  readonly streamOf: (vdiskId: string) => ShardStream;
  readonly delays: Delays;
}

/**
 * What becomes of a shard's replicas when the metadata gives their vdisk another history (rule 11): one of them is what it goes on from, all others are removed.
 * They have, under the same numbers, perhaps other entries and other blocks, so nothing of them is ever taken for a part of the new one. And of those that nobody needs.
 */
export class Histories {
  readonly #begun = new Set<GroupVdisk>();

  constructor(readonly options: HistoriesOptions) {}

  /** What is here is of a history before that one. */
  isOver({ vdiskId, historyId, group }: VdiskDescription): boolean {
    const log = this.options.streamOf(vdiskId).log.vdisk(vdiskId);
    return group !== undefined && log !== undefined && log.oldestNeededLsn !== Infinity && log.historyId < historyId;
  }

  /** Begins the history with the replica that is here, and takes over: at once, or when all of the former one is in the extents. Returns why not, or ''. */
  goOnFrom({ vdiskId, historyId, group }: VdiskDescription): string {
    const { groups, refusals } = this.options;
    const replica = groups.all.get(vdiskId);
    if (replica === undefined) return refusals.messageOf(vdiskId) ?? 'nothing of it is here';
    if (this.#begun.has(replica)) return '';
    this.#begun.add(replica);
    const history = new NewHistory(replica, historyId, group!.origin!.generation, problem => {
      this.#begun.delete(replica);
      if (problem !== '') return replica.events.notRecovered(problem);
      const { node } = replica.parts;
      replica.controllerNode = node;
      replica.step({ kind: 'takeOver', insteadOf: node });
    });
    history.start();
    return '';
  }

  /** What is here is of a history that is over. */
  discard({ vdiskId, historyId }: Pick<VdiskDescription, 'vdiskId' | 'historyId'>, done: () => void): void {
    const former = this.options.streamOf(vdiskId).log.vdisk(vdiskId)?.historyId ?? 0;
    const why = {
      severity: 'warn',
      cause: `the copy here was of history ${former}; the vdisk was recovered by force and has history ${historyId}: it is removed, to be brought up anew`,
      details: { history: former, follows: historyId },
    } as const;
    this.#remove(vdiskId, why, done);
  }

  /** Others hold the vdisk as often as it is to be kept. */
  letGo(vdiskId: string, done: () => void): void {
    const { store } = this.options;
    const why = {
      severity: 'info',
      cause: 'others hold the vdisk as often as it is to be kept: the copy here, from before, is removed',
      details: { freedBytes: store.layersOf(vdiskId).reduce((sum, layer) => sum + store.allocatedBytes(layer), 0) },
    } as const;
    this.#remove(vdiskId, why, done);
  }

  /** Crash order: (1) the layers are marked, and go; (2) the log is given up. Without its log, a layer would pass for that of a new replica. */
  #remove(vdiskId: string, why: Pick<EventDraft, 'severity' | 'cause' | 'details'>, done: () => void): void {
    const { groups, store, removal, refusals, delays, streamOf } = this.options;
    const { scheduler } = streamOf(vdiskId);
    const replica = groups.all.get(vdiskId);
    const again = (): void => delays.after(QUIET_POLL_NS, () => this.#remove(vdiskId, why, done));
    if (!groups.endDamaged(vdiskId)) return again();
    if (replica !== undefined) {
      replica.stop();
      if (!replica.isQuiet || scheduler.isBusy(replica.local)) return again();
      groups.remove(replica);
      scheduler.remove(replica.local);
    }
    const removeLayers = (left: readonly number[]): void => {
      if (left.length > 0) return removal.remove(left[0]!, () => removeLayers(left.slice(1)));
      refusals.drop(vdiskId, streamOf(vdiskId));
      groups.parts.events.emit({ kind: 'replica-discarded', vdiskId, ...why });
      done();
    };
    removeLayers(store.layersOf(vdiskId));
  }
}
