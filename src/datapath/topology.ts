import type { Logger } from '../base/log.js';
import { groupRecord, keys, nodeRecord, type GroupRecord, type NodeRecord } from '../meta/model.js';
import type { MetadataStore, Versioned, Watch, WatchHint } from '../meta/store.js';
import { ATTACH_RETRY_MS, MAX_NODES, TOPOLOGY_PAUSE_MS } from './limits.js';
import type { KnownGroup, KnownNode } from './nodes.js';
import { addressOf, tcpTarget, unixTarget, type PathTarget } from './paths.js';

export interface TopologyOptions {
  readonly store: MetadataStore;
  /** The Stargate of this machine. */
  readonly local: PathTarget;
  /** Its node's id; null: the node whose Unix socket is `local`'s. */
  readonly localNode: string | null;
  readonly log: Logger;
  readonly onNodes: (nodes: readonly KnownNode[], records: readonly NodeRecord[]) => void;
  readonly onGroup: (group: KnownGroup) => void;
  /** At each reading of an attached vdisk's group; null: it has none, or its record is damaged. */
  readonly onRead: (vdiskId: string, record: GroupRecord | null) => void;
}

/** Groups of more vdisks than this are read by one range over all. */
const MOST_GETS = 64;

/**
 * Follows where the nodes are, and who the members of the attached vdisks' groups are. Watches are hints; what counts is what is read. While the metadata
 * store does not answer, what is known stays. Runs on the main thread.
 */
export class TopologyWatcher {
  readonly #watches: readonly Watch[];
  #nodesAreStale = true;
  /** Vdisks whose groups are to be read; null: those of all that are attached. */
  #staleGroups: Set<string> | null = new Set();
  readonly #vdisks = new Set<string>();
  #nodesText = '';
  /** Of nodes, as they were read last. */
  #records: ReadonlyMap<string, NodeRecord> = new Map();
  readonly #epochs = new Map<string, number>();
  #running = false;
  #timer: NodeJS.Timeout | null = null;
  #unreachable = false;
  #closed = false;

  constructor(private readonly options: TopologyOptions) {
    const { store } = options;
    this.#watches = [store.watch(keys.nodes, () => this.#refreshNodes()), store.watch(keys.groups, hint => this.#onGroups(hint))];
    this.#refreshNodes();
  }

  /** It is attached. */
  add(vdiskId: string): void {
    this.#vdisks.add(vdiskId);
    this.#staleGroups?.add(vdiskId);
    this.#refresh();
  }

  drop(vdiskId: string): void {
    this.#vdisks.delete(vdiskId);
    this.#epochs.delete(vdiskId);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const watch of this.#watches) watch.close();
  }

  #refreshNodes(): void {
    this.#nodesAreStale = true;
    this.#refresh();
  }

  #onGroups({ broken, keys: changed }: WatchHint): void {
    if (broken || changed === undefined) this.#staleGroups = null;
    else for (const key of changed) this.#staleGroups?.add(key.slice(keys.groups.length));
    this.#refresh();
  }

  #refresh(): void {
    if (!this.#running && this.#timer === null) void this.#run();
  }

  /** One pass at a time, and a pause between two: a node that goes changes the groups of many vdisks one after the other. */
  async #run(): Promise<void> {
    this.#running = true;
    let pauseMs = TOPOLOGY_PAUSE_MS;
    try {
      await this.#read();
      this.#unreachable = false;
    } catch (error) {
      pauseMs = ATTACH_RETRY_MS;
      const { message } = error as Error;
      if (!this.#unreachable) this.options.log.log('warn', 'the metadata store does not answer; the known nodes stay', { error: message });
      this.#unreachable = true;
    }
    this.#running = false;
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#nodesAreStale || this.#staleGroups === null || this.#staleGroups.size > 0) void this.#run();
    }, pauseMs);
    this.#timer.unref();
  }

  async #read(): Promise<void> {
    const { store } = this.options;
    if (this.#nodesAreStale) {
      this.#nodesAreStale = false;
      try {
        this.#applyNodes((await store.range(keys.nodes)).items);
      } catch (error) {
        this.#nodesAreStale = true;
        throw error;
      }
    }
    const stale = this.#staleGroups;
    this.#staleGroups = new Set();
    const ids = [...(stale ?? this.#vdisks)].filter(vdiskId => this.#vdisks.has(vdiskId));
    try {
      const groups =
        ids.length > MOST_GETS
          ? (await store.range(keys.groups)).items
          : await Promise.all(ids.map(vdiskId => store.get(keys.group(vdiskId))));
      const left = new Set(ids);
      for (const group of groups) {
        if (group === null) continue;
        left.delete(group.key.slice(keys.groups.length));
        this.#applyGroup(group);
      }
      for (const vdiskId of left) if (!this.#closed && this.#vdisks.has(vdiskId)) this.options.onRead(vdiskId, null);
    } catch (error) {
      this.#staleGroups = null;
      throw error;
    }
  }

  #applyNodes(items: readonly Versioned[]): void {
    const { log, onNodes } = this.options;
    const records: NodeRecord[] = [];
    const kept = new Map<string, NodeRecord>();
    for (const { key, value } of items) {
      const parsed = nodeRecord.safeParse(value);
      // Where it was is the best that is known.
      const record = parsed.data ?? this.#records.get(key);
      if (!parsed.success) log.log('error', 'a node record is not readable', { key, error: parsed.error.message });
      if (record === undefined) continue;
      kept.set(key, record);
      if (records.length === MAX_NODES) log.log('error', `more than ${MAX_NODES} nodes; the others are ignored`);
      else records.push(record);
    }
    this.#records = kept;
    const nodes = knownNodes(records, this.options.local, this.options.localNode);
    const text = JSON.stringify(nodes);
    if (this.#closed || text === this.#nodesText) return;
    this.#nodesText = text;
    onNodes(nodes, records);
  }

  #applyGroup({ key, value }: Versioned): void {
    const parsed = groupRecord.safeParse(value);
    if (!parsed.success) {
      this.options.log.log('error', 'a group record is not readable; it is ignored', { key, error: parsed.error.message });
      this.options.onRead(key.slice(keys.groups.length), null);
      return;
    }
    const { vdiskId, epoch, controller, members } = parsed.data;
    if (this.#closed || !this.#vdisks.has(vdiskId)) return;
    this.options.onRead(vdiskId, parsed.data);
    if (epoch <= (this.#epochs.get(vdiskId) ?? -1)) return;
    this.#epochs.set(vdiskId, epoch);
    this.options.onGroup({ vdiskId, epoch, controller, members: members.map(({ node }) => node) });
  }
}

/** Nodes of several machines may use the same path for their Unix sockets: then only their TCP addresses tell them apart, and `localNode` which is here. */
export function knownNodes(records: readonly NodeRecord[], local: PathTarget, localNode: string | null): KnownNode[] {
  const sharing = (unix: string): number => records.filter(({ addresses }) => addresses.unix === unix).length;
  const isLocal = ({ id, addresses }: NodeRecord): boolean =>
    localNode !== null ? id === localNode : addressOf(local) === `unix:${addresses.unix}` && sharing(addresses.unix) === 1;
  return records.flatMap((record): KnownNode[] => {
    const { unix, tcp } = record.addresses;
    const [id, isHere] = [record.id, isLocal(record)];
    if (tcp !== null && !isHere) return [{ id, target: tcpTarget(tcp, id), isLocal: false }];
    // The local one is reached as the configuration says, whatever it says of itself.
    if (isHere) return [{ id, target: local, isLocal: true }];
    return sharing(unix) === 1 ? [{ id, target: unixTarget(unix), isLocal: false }] : [];
  });
}
