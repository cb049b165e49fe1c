import { GatepathError } from '../base/errors.js';
import { formatSize, wholeBlocks } from '../base/size.js';
import { damagedRecord, type DamagedRecord } from '../meta/damage.js';
import { findExport, findHost, isExported, listExports, listHosts, parseExport, waitForKey } from '../meta/hosts.js';
import { keys, type AttachmentRecord, type ExportRecord, type HostRecord, type LeaseRecord, type VdiskRecord } from '../meta/model.js';
import { activate, attach, detach, holderOf, isOver, listAttachments } from '../meta/attachments.js';
import {
  createContainer,
  createVdisk,
  DEFAULT_CONTAINER,
  findContainer,
  findVdisk,
  markDeleting,
  readContainers,
  setContainer,
} from '../meta/operations.js';
import { attachmentsOf, leaseOf } from '../meta/found.js';
import { listLeases } from '../meta/leases.js';
import { readNodes, setDraining } from '../meta/nodes.js';
import type { MetadataStore } from '../meta/store.js';
import type { NodeQuestion } from '../wire/meta.js';
import type { ContainerView, CreateContainerRequest, SetContainerRequest } from './container-schemas.js';
import type { VdiskCommand } from '../wire/vdisk-command.js';
import type { ManagedNode } from './node.js';
import type {
  ActivateRequest,
  AttachmentView,
  AttachRequest,
  CopyView,
  CreateVdiskRequest,
  DetachRequest,
  DetachView,
  NodeView,
  RecoveredView,
  RecoverRequest,
  RecoveryView,
  RemovalView,
  RemoveNodeRequest,
  ServedView,
  VdiskView,
} from './schemas.js';
import { releaseVdisk } from '../meta/quarantine.js';
import type { CommandView, ReleasedView, VdiskListing } from './vdisk-schemas.js';
import { copyOf, lookAtCopies, recover } from './recovery.js';
import { LeaseService } from './leases.js';
import { removeNode } from './removal.js';
import { totals } from './status.js';
import { VdiskCommands } from './vdisk-commands.js';
import { servedBy, survey, surveyVdisk, unreadVdisks, vdiskFacts, type Survey } from './survey.js';

export interface ControlServiceOptions {
  readonly store: MetadataStore;
  readonly node: ManagedNode;
  /** Host of an attachment that names none, where no host or more than one is known. */
  readonly defaultHost: string;
}

const ATTACH_TIMEOUT_MS = 10_000;
const DETACH_TIMEOUT_MS = 10_000;

/** What can be asked of the system, whoever asks: the HTTP API, and `gatepath up` for the vdisks on its command line. */
export class ControlService {
  /** What is done by the controllers of vdisks. */
  readonly commands: VdiskCommands;
  /** Imports and exports by clients. */
  readonly leases: LeaseService;

  constructor(private readonly options: ControlServiceOptions) {
    this.commands = new VdiskCommands(options);
    this.leases = new LeaseService({
      ...options,
      attach: (name, wanted) => this.#attach(name, wanted, true),
      detach: name => this.detach(name),
      shrink: (name, sizeBytes) => this.commands.resize(name, { sizeBytes, shrink: true }),
      checkShrinks: () => this.commands.checkNodes('a stream of unknown length is not imported', '; or say how long it is: --size'),
      openQuota: container => this.#openQuota(container),
    });
  }

  // ---------------------------------------------------------------- containers

  async createContainer({ name, ...wish }: CreateContainerRequest): Promise<ContainerView> {
    const record = await createContainer(this.options.store, name, given(wish));
    return { ...record, vdisks: 0, sizeBytes: 0, allocatedBytes: 0, logBytes: 0, physicalBytes: 0 };
  }

  async setContainer(name: string, change: SetContainerRequest): Promise<ContainerView> {
    await setContainer(this.options.store, name, given(change));
    return this.showContainer(name);
  }

  async showContainer(name: string): Promise<ContainerView> {
    const found = (await this.listContainers()).find(one => one.name === name);
    if (found !== undefined) return found;
    refuseDamaged((await readContainers(this.options.store)).damaged, keys.container(name));
    throw new GatepathError('invalid', 'ERR_NOT_FOUND', `there is no container "${name}"`, 'gatepath container list shows those there are');
  }

  async listContainers(): Promise<ContainerView[]> {
    const all = await survey(this.options);
    return [...all.containers.values()].map(container => {
      const inside = all.vdisks.filter(vdisk => vdisk.container === container.name);
      return { ...container, vdisks: inside.length, ...totals(inside, all) };
    });
  }

  // ---------------------------------------------------------------- nodes

  /** What this node serves itself, or of one vdisk, for others that ask. */
  async served(vdiskId?: string): Promise<ServedView> {
    const { node } = this.options;
    return servedBy(node, await node.status(vdiskId));
  }

  /** To another node, which asks by the wire. */
  answer(question: NodeQuestion): Promise<ServedView | CopyView | CommandView> {
    if (question.about === 'served') return this.served(question.vdiskId);
    return question.about === 'copy' ? this.copy(question.vdiskId) : this.command(question.vdiskId, question.command);
  }

  /** To the vdisk's controller, if it is on this node. */
  async command(vdiskId: string, command: VdiskCommand): Promise<CommandView> {
    const { node } = this.options;
    return { node: node.id, answer: await node.command(vdiskId, command) };
  }

  async listNodes(): Promise<readonly NodeView[]> {
    return (await survey(this.options)).nodes;
  }

  async showNode(id: string): Promise<NodeView> {
    const found = (await this.listNodes()).find(one => one.id === id);
    if (found !== undefined) return found;
    refuseDamaged((await readNodes(this.options.store)).damaged, keys.node(id));
    throw new GatepathError('invalid', 'ERR_NOT_FOUND', `there is no node "${id}"`, 'gatepath node list shows those there are');
  }

  async setDraining(id: string, isDraining: boolean): Promise<NodeView> {
    await setDraining(this.options.store, id, isDraining);
    return this.showNode(id);
  }

  /** Takes it out of the cluster for good, as far as that goes now; to be asked until it is done. Throws where something would be lost, and `force` is not given. */
  removeNode(id: string, wanted: RemoveNodeRequest): Promise<RemovalView> {
    return removeNode(this.options, id, wanted);
  }

  // ---------------------------------------------------------------- vdisks

  /** The size is rounded up to whole blocks. */
  async createVdisk({ name, sizeBytes, container }: CreateVdiskRequest): Promise<VdiskView> {
    const { store, node } = this.options;
    const wanted = { name, sizeBytes: wholeBlocks(sizeBytes), ...(container === undefined ? {} : { container }) };
    await this.#openQuota(container ?? DEFAULT_CONTAINER);
    const vdisk = await createVdisk(store, wanted, record => node.place(record));
    await node.serve(vdisk);
    return this.showVdisk(name);
  }

  async listVdisks(): Promise<VdiskListing> {
    const { store } = this.options;
    const [all, leases, attachments, hosts, exports] = await Promise.all([
      survey(this.options),
      listLeases(store),
      listAttachments(store),
      listHosts(store),
      listExports(store),
    ]);
    const leased = new Map(leases.map(({ record }) => [record.vdiskId, record]));
    const [attached, exported] = [byVdiskId(attachments), byVdiskId(exports)];
    const sorted = [...all.vdisks].sort((a, b) => (a.name < b.name ? -1 : 1));
    const vdisks = sorted.map(vdisk => {
      const { id } = vdisk;
      const around = {
        lease: leased.get(id) ?? null,
        attachments: attached.get(id) ?? [],
        hosts,
        exports: exported.get(id) ?? [],
      };
      return view(vdisk, all, around);
    });
    return { vdisks, unread: await unreadVdisks(store, all) };
  }

  async showVdisk(vdiskName: string): Promise<VdiskView> {
    const { store } = this.options;
    const vdisk = await findVdisk(store, vdiskName);
    const [all, lease, found, hosts] = await Promise.all([
      surveyVdisk(this.options, vdisk),
      leaseOf(store, vdisk.id),
      attachmentsOf(store, vdisk.id),
      listHosts(store),
    ]);
    const attachments = found.map(({ record }) => record);
    const exports = await Promise.all(attachments.map(({ host }) => findExport(store, host, vdisk.id)));
    return view(vdisk, all, { lease: lease?.record ?? null, attachments, hosts, exports: exports.filter(one => one !== null) });
  }

  async deleteVdisk(vdiskName: string): Promise<void> {
    const { store, node } = this.options;
    node.makeRoom();
    await markDeleting(store, vdiskName);
    node.remove();
  }

  /** What is known of the copies of a vdisk of which no member returns. */
  async showRecovery(vdiskName: string): Promise<RecoveryView> {
    return (await lookAtCopies(this.options, vdiskName)).view;
  }

  /** Goes on from one copy, with the loss of what only others had (rule 11). Throws where it has another way back, or the loss is not accepted. */
  recoverVdisk(vdiskName: string, wanted: RecoverRequest): Promise<RecoveredView> {
    return recover(this.options, vdiskName, wanted);
  }

  /** A quarantined one (rule 19): its requests go on. */
  async releaseVdisk(vdiskName: string): Promise<ReleasedView> {
    const quarantine = await releaseVdisk(this.options.store, vdiskName);
    const { host, at, requests, nodes } = quarantine;
    return { vdisk: vdiskName, host, at, requests, nodes };
  }

  /** What this node has of a vdisk, for others that ask. */
  async copy(vdiskId: string): Promise<CopyView> {
    const { node } = this.options;
    return copyOf(node.id, vdiskId, await node.status());
  }

  // ---------------------------------------------------------------- attachments

  /** Attached already at that host: says so again. Waits until the host's datapath offers it, where one has ever run. */
  attach(vdiskName: string, wanted: AttachRequest): Promise<AttachmentView> {
    return this.#attach(vdiskName, wanted, false);
  }

  async #attach(vdiskName: string, wanted: AttachRequest, isLeased: boolean): Promise<AttachmentView> {
    const { host, shared = false, timeoutMs = ATTACH_TIMEOUT_MS } = wanted;
    const { store } = this.options;
    if (shared && host === undefined) {
      const action = 'name the host that the guest migrates to: --host';
      throw new GatepathError('invalid', 'ERR_USAGE', 'a shared attachment is at another host than the one that holds the vdisk', action);
    }
    const attachment = await attach(store, vdiskName, host ?? (await this.#defaultHost(vdiskName)), { shared, isLeased });
    const known = await findHost(store, attachment.host);
    const exported = known !== null && (await this.#whenExported(attachment, timeoutMs, () => true));
    return attachmentView(attachment, known, exported);
  }

  /** Resolves when the host's datapath has the vdisk to itself: the sessions of the one that held it before have ended. Again, where it was not so in time. */
  async activate(vdiskName: string, { host, timeoutMs = ATTACH_TIMEOUT_MS }: ActivateRequest): Promise<AttachmentView> {
    const { store } = this.options;
    const attachment = await activate(store, vdiskName, host);
    const known = await findHost(store, attachment.host);
    const isHeld = known !== null && (await this.#whenExported(attachment, timeoutMs, one => !one.shared));
    if (isHeld) return attachmentView(attachment, known, true);
    const message = `the datapath of host "${attachment.host}" does not hold vdisk "${vdiskName}" yet: it does not run, or finds no path to it`;
    throw new GatepathError(
      'retryable',
      'ERR_NOT_ACTIVATED',
      message,
      'do not let the guest go on there; see to the datapath, and try again',
    );
  }

  #whenExported(attachment: AttachmentRecord, timeoutMs: number, holds: (one: ExportRecord) => boolean): Promise<boolean> {
    const { store } = this.options;
    const { host, vdiskId, generation } = attachment;
    return waitForKey(store, keys.export(host, vdiskId), timeoutMs, async found => {
      const one = parseExport(found);
      return one !== null && isExported(await findHost(store, host), one, generation) && holds(one);
    });
  }

  /** Waits until the host's datapath has let go of it. */
  async detach(vdiskName: string, wanted: DetachRequest = {}): Promise<DetachView> {
    const { store } = this.options;
    const { host, vdiskId, generation } = await detach(store, vdiskName, wanted.host);
    const released = await waitForKey(store, keys.export(host, vdiskId), DETACH_TIMEOUT_MS, found => {
      const one = parseExport(found);
      return one === null || one.generation > generation;
    });
    return { vdisk: vdiskName, host, released };
  }

  // ---------------------------------------------------------------- helpers

  /** Null: there is none. A vdisk that could not take a single block is refused. */
  async #openQuota(container: string): Promise<number | null> {
    const { store, node } = this.options;
    const { quotaBytes } = await findContainer(store, container);
    if (quotaBytes === null) return null;
    const usedBytes = await node.usedBytes(container);
    if (usedBytes < quotaBytes) return quotaBytes;
    const message = `the quota of container "${container}" is used up: ${formatSize(usedBytes)} of ${formatSize(quotaBytes)}`;
    const action = `delete or trim there, or raise it: gatepath container set ${container} --quota SIZE`;
    throw new GatepathError('noSpace', 'ERR_QUOTA', message, action);
  }

  /** Where the vdisk is attached already; else the only host there is; else the node's own. */
  async #defaultHost(vdiskName: string): Promise<string> {
    const { store, defaultHost } = this.options;
    const { id } = await findVdisk(store, vdiskName);
    const attached = (await attachmentsOf(store, id)).map(({ record }) => record);
    const there = holderOf(attached) ?? attached[0];
    if (there !== undefined) return there.host;
    const hosts = await listHosts(store);
    return hosts.length === 1 ? hosts[0]!.host : defaultHost;
  }
}

function view(vdisk: VdiskRecord, all: Survey, around: Around): VdiskView {
  const group = all.groups.get(vdisk.id);
  const { allocatedBytes, logBytes, physicalBytes, health, problem, missing, resyncing, lastProblem, sessions } = vdiskFacts(vdisk, all);
  const attachments = attachedViews(around);
  const { lease } = around;
  const { name, id, container, sizeBytes, createdAt } = vdisk;
  return {
    name,
    id,
    container,
    sizeBytes,
    allocatedBytes,
    logBytes,
    physicalBytes,
    createdAt,
    health,
    problem,
    missing: [...missing],
    resyncing,
    lastProblem,
    controller: group?.controller ?? null,
    members: group?.members.map(member => member.node) ?? [],
    epoch: group?.epoch ?? 0,
    term: group?.term ?? 0,
    sessions,
    attachment: attachments[0] ?? null,
    attachments,
    lease: lease === null ? null : { purpose: lease.purpose, vdiskName: lease.vdiskName, since: lease.since },
  };
}

/** It is there, and cannot be read: that is another thing than none. */
function refuseDamaged(damaged: readonly DamagedRecord[], key: string): void {
  const found = damaged.find(one => one.key === key);
  if (found !== undefined) throw damagedRecord(found);
}

/** Without what is not given. */
function given<T extends object>(of: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

const MODES = ['holder', 'shared', 'over'] as const;

function attachedViews({ attachments: all, hosts, exports }: Around): VdiskView['attachments'] {
  const views = all.map(one => {
    const known = hosts.find(({ host }) => host === one.host) ?? null;
    const exported = exports.find(({ host }) => host === one.host) ?? null;
    const mode: (typeof MODES)[number] = one.shared ? 'shared' : isOver(one, all) ? 'over' : 'holder';
    return { host: one.host, generation: one.generation, exported: isExported(known, exported, one.generation), mode };
  });
  return views.sort((a, b) => MODES.indexOf(a.mode) - MODES.indexOf(b.mode));
}

/** What there is of one vdisk beside what its nodes say; and the hosts. */
interface Around {
  readonly lease: LeaseRecord | null;
  readonly attachments: readonly AttachmentRecord[];
  readonly hosts: readonly HostRecord[];
  readonly exports: readonly ExportRecord[];
}

function byVdiskId<T extends { readonly vdiskId: string }>(all: readonly T[]): ReadonlyMap<string, readonly T[]> {
  const map = new Map<string, T[]>();
  for (const one of all) map.set(one.vdiskId, [...(map.get(one.vdiskId) ?? []), one]);
  return map;
}

function attachmentView(attachment: AttachmentRecord, host: HostRecord | null, exported: boolean): AttachmentView {
  const { vdiskName, vdiskId, generation, sizeBytes, shared } = attachment;
  return {
    vdisk: vdiskName,
    vdiskId,
    host: attachment.host,
    generation,
    sizeBytes,
    shared,
    nbdSocket: host?.nbdSocket ?? null,
    nbdTls: host?.nbdTls ?? null,
    exported,
  };
}
