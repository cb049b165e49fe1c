import type { EventDraft } from '../../../src/base/events.js';
import type { ArenaRegion } from 'uring-engine';
import { TransferBuffers, transferBufferBytes } from '../../../src/stargate/cache/transfer-buffers.js';
import type { Group } from '../../../src/stargate/core/replication/effects.js';
import { ENTRY_HEADER_BYTES } from '../../../src/stargate/oplog/index.js';
import type { NodePartOptions } from '../../../src/stargate/runtime/node-part.js';
import type { GroupPorts, LivingNode } from '../../../src/stargate/runtime/group/groups.js';
import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import type { VdiskDescription } from '../../../src/stargate/runtime/vdisks.js';
import { MAX_APPEND_ENTRIES } from '../../../src/wire/limits.js';
import type { EntryList, PeerNode } from '../../../src/wire/peers.js';
import { baseOfMember, bootedMember, memberId, nodeOfMember, type MemberId, type ReplicaMessage } from '../../../src/wire/replicate.js';
import { RETAINED_BUFFERS } from '../limits.js';
import type { Link } from '../link.js';
import { RECEIVE_BYTES } from '../memory.js';
import { SimNode, type NodeBugs, type NodeShape } from '../node.js';
import { traceKind } from '../trace.js';
import type { Cluster } from './cluster.js';
import { BEAT_NS, MAX_WATCH_NS, META_RETRY_NS } from './limits.js';
import { SimPeers } from './peers.js';
import { SizeRecorder } from './size-recorder.js';

const said = new Map<number, string>();
const Says = traceKind(
  (node, vdisk, message, term) => `node ${node}: vdisk ${vdisk}: ${said.get(message)}${term > 0 ? `, term ${term}` : ''}`,
);

/** A node of a cluster: the one of a node that is alone, with replicas and, beside its shard, what its main thread does for them. */
export class ClusterNode extends SimNode {
  readonly nodeId: string;
  #incarnation = 1;
  #member!: MemberId;
  #self!: MemberId;
  /** Of its starts. */
  process = 0;
  /** As it registers it: an earlier start has ended. */
  boot = 0;
  peers: SimPeers | null = null;
  /** Connections of datapaths. */
  readonly links = new Set<Link>();
  readonly counters2 = { takeovers: 0, resigned: 0, resyncs: 0, alarms: 0, recovered: 0, discarded: 0, letGo: 0, refilled: 0 };
  onEvent: (event: EventDraft) => void = () => undefined;
  /** Vdisk → of which history. */
  readonly #known = new Map<string, number>();
  #receiveAt = 0;
  #hangsUp = false;
  #nonces = 0;
  #isLooking = false;
  #looksAgain = false;

  constructor(
    readonly cluster: Cluster,
    number: number,
    shape: NodeShape,
    bugs: NodeBugs | undefined,
  ) {
    const { clock, memory, trace } = cluster;
    const listener = {
      onServing: () => this.#look(),
      onFatal: (message: string) => cluster.onFatal(this, message),
      onBadBlock: (vdiskId: string, offsetBytes: number, lengthBytes: number) =>
        cluster.onBadBlock(this, vdiskId, offsetBytes, lengthBytes),
    };
    super(clock, memory, trace, shape, listener, bugs, number);
    this.nodeId = `node-${number}`;
    this.#rename();
  }

  get member(): MemberId {
    return this.#member;
  }

  /** Who it is in a group: with `durability: flush` this start of it. */
  get self(): MemberId {
    return this.#self;
  }

  /** With another disk, or started again, it is somebody else. */
  #rename(): void {
    this.#member = memberId(this.nodeId, `store${this.number}`, this.#incarnation);
    this.#self = this.cluster.isForgetful ? bootedMember(this.#member, this.boot) : this.#member;
  }

  get #candidate(): LivingNode {
    const { node, storeUuid, incarnation } = this.peerNode;
    return { member: { node, storeUuid, incarnation }, freeBytes: 1 << 30, faultDomain: null };
  }

  override replaceDisk(): void {
    super.replaceDisk();
    if (this.bugs.amnesiacKept === true) this.#isAmnesiac = true;
    else this.#incarnation++;
    this.#rename();
    this.cluster.metadata.onChanged();
  }

  #isAmnesiac = false;

  get peerNode(): PeerNode {
    const { nodeId: node, shape } = this;
    return {
      node,
      storeUuid: `store${this.number}`,
      incarnation: this.#incarnation,
      boot: this.boot,
      unix: node,
      tcp: null,
      shards: 1,
      streams: shape.streams,
    };
  }

  get replicas(): IterableIterator<GroupVdisk> {
    return this.part!.groups!.all.values();
  }

  // ---------------------------------------------------------------- the process

  override start(): boolean {
    this.process++;
    if (this.bugs.memoryKept !== true || this.boot === 0) this.boot++;
    this.#rename();
    this.#known.clear();
    this.#isLooking = this.#looksAgain = false;
    this.peers = new SimPeers(this);
    const started = super.start();
    if (started) {
      // That it has registered others see: they watch the nodes.
      if (this.cluster.isForgetful) this.cluster.metadata.onChanged();
      this.#recovered();
      this.#beat(this.process);
    }
    return started;
  }

  protected override duty(region: ArenaRegion): { readonly group: GroupPorts } & Pick<NodePartOptions, 'onSized'> {
    const headersOffset = region.take(MAX_APPEND_ENTRIES * ENTRY_HEADER_BYTES);
    const retained = new TransferBuffers(region.take(transferBufferBytes(RETAINED_BUFFERS)), RETAINED_BUFFERS);
    this.#receiveAt = region.take(RECEIVE_BYTES);
    const { cluster, number, process } = this;
    const { metadata } = cluster;
    const recorder = new SizeRecorder(this);
    return {
      // Without resizes there is nothing to tell, and histories stay what they were.
      onSized: sized => cluster.isResizing && recorder.told(sized),
      group: {
        self: this.member,
        boot: this.boot,
        sender: this.peers!,
        retained,
        headersOffset,
        newNonce: () => `${number}.${process}.${++this.#nonces}`,
        cas: (vdiskId, expectedEpoch, group) =>
          metadata.cas(number, vdiskId, expectedEpoch, group, outcome =>
            this.#inProcess(process, () => this.part!.groups!.onCas(vdiskId, group.nonce, outcome)),
          ),
        readGroup: (vdiskId, readId) =>
          metadata.read(number, groups => {
            const group = groups?.get(vdiskId);
            const { seen } = cluster;
            if (group !== undefined) this.#inProcess(process, () => this.part!.groups!.onGroup(vdiskId, readId, group, seen));
          }),
        keepSurplusMs: cluster.keepSurplusMs,
        wanted: vdiskId => this.#wanted(vdiskId),
        events: { emit: event => this.#happened(event) },
        say: (_level, message, fields) => this.#say(message, fields['vdiskId'], 0),
      },
    };
  }

  #inProcess(process: number, call: () => void): void {
    if (this.process === process) this.turn(call);
  }

  /** As the kernel ends it, or it itself: its connections are closed without a word. */
  override kill(): void {
    this.#hangsUp = true;
    super.kill();
    this.#hangsUp = false;
  }

  /** The process has gone. */
  gone(): void {
    this.cluster.watcher.ended(this);
    this.process++;
    this.peers!.isDead = true;
    for (const link of this.links) link.nodeGone(this.#hangsUp ? this.cluster.lossOfDead : 'lost');
    this.links.clear();
  }

  protected override afterTurn(): void {
    if (this.part !== null && this.engine?.isDead === false) this.cluster.observe(this);
  }

  /** As whoever ends a process in good order does it: other nodes take over first, then it drains and closes. */
  override stop(done: () => void): void {
    const { process } = this;
    // Out of the turn that it is told in.
    const end = (): void => void this.clock.after(1, () => this.process === process && super.stop(done));
    this.turn(part => part.leave(end));
  }

  /** From another node. */
  receive(from: MemberId, vdiskId: string, message: ReplicaMessage, entries: readonly Buffer[] | null, list: EntryList): void {
    list.clear();
    let at = this.#receiveAt;
    for (const entry of entries ?? []) {
      // As in production: headers anywhere, payloads at pages.
      this.memory.arena.bytes.set(entry.subarray(0, ENTRY_HEADER_BYTES), at);
      const payloadAt = at + ENTRY_HEADER_BYTES;
      this.memory.arena.bytes.set(entry.subarray(ENTRY_HEADER_BYTES), payloadAt);
      list.add(at, payloadAt, entry.length - ENTRY_HEADER_BYTES);
      at = payloadAt + Math.ceil((entry.length - ENTRY_HEADER_BYTES) / 8) * 8;
    }
    this.part!.groups!.onPeerMessage(from, vdiskId, message, list);
  }

  #happened(event: EventDraft): void {
    const { kind, cause, vdiskId, details, severity } = event;
    const { counters2 } = this;
    this.onEvent(event);
    if (kind === 'controller-taken-over') counters2.takeovers++;
    else if (kind === 'controller-ended') counters2.resigned++;
    else if (kind === 'resync-done') counters2.resyncs++;
    else if (kind === 'vdisk-recovered') counters2.recovered++;
    else if (kind === 'replica-discarded' && severity === 'info') counters2.letGo++;
    else if (kind === 'replica-discarded') counters2.discarded++;
    else if (kind === 'rot-mended' && details?.['entries'] !== undefined) counters2.refilled++;
    else if (kind === 'replication-alarm' || kind === 'disk-failed') counters2.alarms++;
    this.#say(cause, vdiskId, details?.['term']);
  }

  #say(text: string, vdiskId: unknown, term: unknown): void {
    const { trace } = this;
    const name = trace.nameOf(text);
    if (trace.isRead) said.set(name, text);
    const vdisk = this.cluster.vdisks.findIndex(({ id }) => id === vdiskId);
    trace.add(Says, this.number, vdisk, name, typeof term === 'number' ? term : 0);
  }

  // ---------------------------------------------------------------- the main thread: what src/main/replicas.ts does

  #recovered(): void {
    const { process } = this;
    this.cluster.metadata.read(this.number, groups => {
      if (this.process !== process) return;
      if (groups === null) return void this.clock.after(META_RETRY_NS, () => this.process === process && this.#recovered());
      this.#inProcess(process, () => {
        this.#setNodes();
        const all = [...groups].map(([vdiskId, group]) => this.#description(vdiskId, group));
        for (const { vdiskId, historyId } of all) this.#known.set(vdiskId, historyId);
        this.part!.serve(all, []);
      });
    });
  }

  #beat(process: number): void {
    const { cluster, clock, number } = this;
    cluster.metadata.beat(number, living => {
      if (living !== null) this.#inProcess(process, () => this.part!.groups!.setLiving(living.map(one => cluster.node(one).#candidate)));
    });
    clock.after(BEAT_NS, () => this.process === process && this.#beat(process));
  }

  #setNodes(): void {
    this.part!.groups!.setNodes(this.cluster.nodes.filter(node => node !== this).map(node => node.peerNode));
  }

  #description(vdiskId: string, { term, nonce, controller, members, historyId }: Group): VdiskDescription {
    const { replicationFactor, minMembers, durability, metadata } = this.cluster;
    const recovered = metadata.origins.get(vdiskId);
    const origin = recovered?.member === this.member ? { generation: recovered.generation } : null;
    const group = { replicationFactor, minMembers, controller, isMember: members.some(one => baseOfMember(one) === this.member), origin };
    const { sizeBytes } = metadata.sizes.get(vdiskId)!;
    return { vdiskId, sizeBytes, historyId, durability, term: this.#isAmnesiac ? 0 : term, nonce, group };
  }

  #wanted(vdiskId: string): void {
    const { process } = this;
    this.cluster.metadata.read(this.number, groups => {
      if (groups === null) return;
      const description = this.#description(vdiskId, groups.get(vdiskId)!);
      const isLearner = !groups.get(vdiskId)!.members.includes(this.self);
      const group = { ...description.group!, isMember: true, isLearner };
      this.#inProcess(process, () => this.#create({ ...description, group }));
    });
  }

  #create(description: VdiskDescription): void {
    this.#known.set(description.vdiskId, description.historyId);
    this.part!.create(description, problem => this.cluster.onProblem(this, description.vdiskId, problem));
  }

  /** The metadata has changed, or the node has just begun to serve. */
  noticed(): void {
    const { process } = this;
    if (!this.isServing) return;
    this.clock.after(1 + this.clock.below(MAX_WATCH_NS), () => this.process === process && this.#look());
  }

  #look(): void {
    this.#looksAgain = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#run(this.process);
  }

  #run(process: number): void {
    this.#looksAgain = false;
    this.cluster.metadata.read(this.number, groups => {
      if (this.process !== process) return;
      if (groups === null) return void this.clock.after(META_RETRY_NS, () => this.process === process && this.#run(process));
      this.#inProcess(process, () => {
        this.#setNodes();
        const isThere = (id: MemberId): boolean => id === this.self || nodeOfMember(id) !== this.nodeId || !this.cluster.isForgetful;
        for (const [vdiskId, group] of groups)
          this.#found(this.#description(vdiskId, group), group.members.filter(isThere).map(nodeOfMember));
      });
      if (this.#looksAgain) this.#run(process);
      else this.#isLooking = false;
    });
  }

  #found(description: VdiskDescription, memberNodes: readonly string[]): void {
    const { vdiskId, historyId, group, term } = description;
    const known = this.#known.get(vdiskId);
    if (known === undefined ? group!.isMember : known < historyId) this.#create(description);
    this.part!.groups!.onRecord(vdiskId, nodeOfMember(group!.controller), term, memberNodes);
  }
}
