import { setTimeout as delay } from 'node:timers/promises';
import { GatepathError } from '../base/errors.js';
import { BLOCK_BYTES, formatSize, MAX_SIZE_BYTES, wholeBlocks } from '../base/size.js';
import { holdBack } from '../meta/damage.js';
import { listExports, waitForKey } from '../meta/hosts.js';
import { keys, RESIZE_LOG_FORMAT, vdiskRecord, type VdiskRecord } from '../meta/model.js';
import { listAttachments } from '../meta/attachments.js';
import { groupOf, listNodes, readNodes } from '../meta/nodes.js';
import { findContainer, findVdisk, refuseBeyondQuota } from '../meta/operations.js';
import type { MetadataStore } from '../meta/store.js';
import { MapFlags, type VdiskAnswer, type VdiskCommand } from '../wire/vdisk-command.js';
import type { ManagedNode, NodeStatus } from './node.js';
import type { MapRequest, MapView, ResizeRequest, ResizeView } from './vdisk-schemas.js';

export interface VdiskCommandsOptions {
  readonly store: MetadataStore;
  readonly node: ManagedNode;
}

/** Until a controller has answered, wherever it may be: also where one has to take over first. */
const CONTROLLER_TIMEOUT_MS = 15_000;
const ASK_AGAIN_MS = 100;
/** What follows a resize by itself is waited for so long. */
const RECORD_TIMEOUT_MS = 5_000;
const OFFER_TIMEOUT_MS = 5_000;
/** Ranges in one answer. */
const MAX_MAP_RANGES = 4_096;

type MapAnswer = Extract<VdiskAnswer, { kind: 'map' }>;

/** What only the controller of a vdisk can tell and do: its size, and its map. */
export class VdiskCommands {
  constructor(private readonly options: VdiskCommandsOptions) {}

  /**
   * To whole blocks, rounded up. Resolves when the log has it; the rest follows by itself: the metadata, which is waited for for a while, and from there the datapaths.
   * Again, after an error: goes on.
   */
  async resize(name: string, { sizeBytes, shrink = false }: ResizeRequest): Promise<ResizeView> {
    const vdisk = await findVdisk(this.options.store, name);
    const toBytes = checkSize(sizeBytes);
    await this.checkNodes(`vdisk "${name}" is not resized`);
    const beforeBytes = await this.#sizeOf(vdisk);
    const cutBytes = toBytes < beforeBytes ? await this.#dataIn(vdisk, toBytes, beforeBytes) : 0;
    if (toBytes < beforeBytes && !shrink) throw wouldCut(name, beforeBytes, toBytes, cutBytes);
    if (toBytes > beforeBytes) refuseBeyondQuota(await findContainer(this.options.store, vdisk.container), toBytes);
    await this.#resizeFrom(vdisk, beforeBytes, toBytes);
    const isRecorded = await this.#whenRecorded(vdisk.id, toBytes);
    const hosts = isRecorded ? await this.#whenOffered(vdisk.id, toBytes) : [];
    return { vdisk: name, vdiskId: vdisk.id, beforeBytes, sizeBytes: toBytes, cutBytes, isRecorded, hosts };
  }

  /** From a place on, as much as goes into one answer. */
  async map(name: string, { fromBytes = 0 }: MapRequest): Promise<MapView> {
    const vdisk = await findVdisk(this.options.store, name);
    const ranges: MapView['ranges'] = [];
    let at = fromBytes;
    let sizeBytes: number;
    do {
      const page = await this.#map(vdisk, at, Number.MAX_SAFE_INTEGER - at);
      ({ sizeBytes } = page);
      for (const [lengthBytes, flags] of page.extents) {
        const state = flags === MapFlags.data ? 'data' : flags === MapFlags.zero ? 'zero' : 'hole';
        const last = ranges.at(-1);
        if (last?.state === state) last.lengthBytes += lengthBytes;
        else ranges.push({ offsetBytes: at, lengthBytes, state });
        at += lengthBytes;
      }
    } while (at < sizeBytes && ranges.length < MAX_MAP_RANGES);
    const copies = fromBytes === 0 ? await this.#copies(vdisk.id) : [];
    return { vdisk: name, sizeBytes, ranges, nextBytes: at < sizeBytes ? at : null, copies };
  }

  // ---------------------------------------------------------------- the size

  /** A node of before resizes were entries would pass over them, and have another vdisk than the others. */
  async checkNodes(whatIsNotDone: string, orElse = ''): Promise<void> {
    const { records, damaged } = await readNodes(this.options.store);
    holdBack(damaged, whatIsNotDone);
    const old = records.filter(({ logFormat }) => logFormat < RESIZE_LOG_FORMAT).map(({ id }) => `"${id}"`);
    if (old.length === 0) return;
    const message = `${whatIsNotDone}: the version that was started last on ${old.join(', ')} does not know resizes`;
    throw new GatepathError('retryable', 'ERR_OLD_NODES', message, `upgrade these nodes, or remove them, and try again${orElse}`);
  }

  async #resizeFrom(vdisk: VdiskRecord, fromBytes: number, toBytes: number): Promise<void> {
    const endMs = performance.now() + CONTROLLER_TIMEOUT_MS;
    for (;;) {
      const answer = await this.#ask(vdisk, { kind: 'resize', fromBytes, toBytes });
      switch (answer.kind) {
        case 'resized':
          return;
        case 'changed': {
          const message = `somebody else has resized vdisk "${vdisk.name}" meanwhile: it has ${formatSize(answer.sizeBytes)} now`;
          throw new GatepathError('retryable', 'ERR_RESIZED', message, 'look at it, and say again what it is to be');
        }
        case 'full': {
          const message = `vdisk "${vdisk.name}" is not resized: the log of its controller is full`;
          throw new GatepathError('noSpace', 'ERR_NO_SPACE', message, 'give the node space: see "gatepath node list"');
        }
        default:
          // Whether it has come about is seen when it is asked again: its size is the wanted one then.
          if (performance.now() > endMs) throw notServed(vdisk.name, `its controller is not ready (${answer.kind})`);
          await delay(ASK_AGAIN_MS);
      }
    }
  }

  async #sizeOf(vdisk: VdiskRecord): Promise<number> {
    return (await this.#map(vdisk, 0, 0)).sizeBytes;
  }

  async #dataIn(vdisk: VdiskRecord, fromBytes: number, toBytes: number): Promise<number> {
    let data = 0;
    for (let at = fromBytes; at < toBytes;) {
      const { extents } = await this.#map(vdisk, at, toBytes - at);
      // Somebody has cut it already.
      if (extents.length === 0) break;
      for (const [lengthBytes, flags] of extents) {
        if (flags === MapFlags.data) data += lengthBytes;
        at += lengthBytes;
      }
    }
    return data;
  }

  #whenRecorded(vdiskId: string, sizeBytes: number): Promise<boolean> {
    return waitForKey(this.options.store, keys.vdisk(vdiskId), RECORD_TIMEOUT_MS, found => {
      const record = vdiskRecord.safeParse(found?.value);
      return record.success && record.data.sizeBytes === sizeBytes;
    });
  }

  /** Where the vdisk is attached, and whether new connections see the size there. */
  async #whenOffered(vdiskId: string, sizeBytes: number): Promise<ResizeView['hosts']> {
    const { store } = this.options;
    const attached = (await listAttachments(store)).filter(one => one.vdiskId === vdiskId);
    return Promise.all(
      attached.map(async ({ host, generation }) => {
        const isOffered = await waitForKey(store, keys.export(host, vdiskId), OFFER_TIMEOUT_MS, async () => {
          const all = await listExports(store, keys.exportsOf(host));
          return all.some(one => one.vdiskId === vdiskId && one.generation === generation && one.sizeBytes === sizeBytes);
        });
        return { host, isOffered };
      }),
    );
  }

  // ---------------------------------------------------------------- the controller

  async #map(vdisk: VdiskRecord, offsetBytes: number, lengthBytes: number): Promise<MapAnswer> {
    const answer = await this.#ask(vdisk, { kind: 'map', offsetBytes, lengthBytes });
    if (answer.kind === 'map') return answer;
    const message = `what vdisk "${vdisk.name}" has allocated is not known: a record of the block store of its controller is damaged`;
    throw new GatepathError('corrupt', 'ERR_DAMAGED', message, 'see its log; "gatepath verify" tells what is damaged');
  }

  /** Whom the record names, then whom the nodes name that are asked; where none of them is one, a member takes over. */
  async #ask(vdisk: VdiskRecord, command: VdiskCommand): Promise<Exclude<VdiskAnswer, { kind: 'refused' }>> {
    const { store } = this.options;
    const endMs = performance.now() + CONTROLLER_TIMEOUT_MS;
    let hint: string | null = null;
    for (let turn = 0; ; turn++) {
      const group = await groupOf(store, vdisk.id);
      const members = group?.members.map(({ node }) => node) ?? [];
      const asked: string = hint ?? (turn === 0 || members.length === 0 ? (group?.controller ?? '') : members[turn % members.length]!);
      hint = null;
      const answer = await this.#askNode(asked, vdisk.id, command);
      if (answer !== null && answer.kind !== 'refused') return answer;
      const why = answer === null ? `node "${asked}" does not answer` : `node "${asked}": ${answer.message}`;
      if (answer?.node !== asked) hint = answer?.node ?? null;
      if (performance.now() > endMs) throw notServed(vdisk.name, why);
      // At most one hint is followed at once: two nodes may each name the other.
      if (hint === null || turn % 2 === 1) await delay(ASK_AGAIN_MS);
    }
  }

  async #askNode(id: string, vdiskId: string, command: VdiskCommand): Promise<VdiskAnswer | null> {
    const { node, store } = this.options;
    if (id === node.id) return node.command(vdiskId, command);
    const found = (await listNodes(store)).find(one => one.id === id);
    if (found === undefined || node.cluster === null) return null;
    const { addresses, control } = found;
    return node.cluster.askCommand({ id, tcp: addresses.tcp, control }, vdiskId, command);
  }

  async #copies(vdiskId: string): Promise<MapView['copies']> {
    const { node, store } = this.options;
    const members = (await groupOf(store, vdiskId))?.members ?? [];
    const nodes = await listNodes(store);
    const status = await node.status();
    return Promise.all(
      members.map(async ({ node: id }) => {
        if (id === node.id) return { node: id, allocatedBytes: allocatedHere(status, vdiskId) };
        const found = nodes.find(one => one.id === id);
        const told = found && (await node.cluster?.askCopy({ id, tcp: found.addresses.tcp, control: found.control }, vdiskId));
        return { node: id, allocatedBytes: told?.allocatedBytes ?? null };
      }),
    );
  }
}

/** What this node's copy takes of its extents; null: it has none. */
export function allocatedHere({ vdisks, replicas }: NodeStatus, vdiskId: string): number | null {
  return [...replicas, ...vdisks].find(one => one.vdiskId === vdiskId)?.allocatedBytes ?? null;
}

function checkSize(sizeBytes: number): number {
  const rounded = wholeBlocks(sizeBytes);
  if (rounded > 0 && rounded <= MAX_SIZE_BYTES) return rounded;
  const message = `${sizeBytes} bytes is no size of a vdisk: it has ${BLOCK_BYTES} bytes at least and ${formatSize(MAX_SIZE_BYTES)} at most`;
  throw new GatepathError('invalid', 'ERR_SIZE', message, 'choose another size');
}

function wouldCut(name: string, beforeBytes: number, toBytes: number, cutBytes: number): GatepathError {
  const message =
    `vdisk "${name}" has ${formatSize(beforeBytes)}: ${formatSize(beforeBytes - toBytes)} at its end would be cut off, ` +
    `${cutBytes === 0 ? 'without any data' : `with ${formatSize(cutBytes)} of data, for good`}`;
  const action = 'shrink the guest’s file systems and partitions first; then say --shrink';
  return new GatepathError('invalid', 'ERR_WOULD_CUT', message, action);
}

function notServed(name: string, why: string): GatepathError {
  return new GatepathError(
    'retryable',
    'ERR_NOT_SERVED',
    `vdisk "${name}" is not served now: ${why}`,
    'see "gatepath vdisk show", and try again',
  );
}
