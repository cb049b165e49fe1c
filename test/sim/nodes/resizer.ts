import { seededRandom, type Random } from 'uring-engine/faulty';
import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { VdiskAnswer, VdiskCommand } from '../../../src/wire/vdisk-command.js';
import type { Vdisk } from '../load.js';
import { traceKind } from '../trace.js';
import { SMALL_VDISK_BYTES, VDISK_BYTES, WIDE } from '../workload.js';
import type { Cluster } from './cluster.js';
import { COMMAND_SILENT_NS, MAX_PEER_NS } from './limits.js';
import type { Sizes } from './sizes.js';

const VDISK_BLOCKS = VDISK_BYTES / BLOCK_BYTES;
const KINDS: readonly VdiskAnswer['kind'][] = ['refused', 'resized', 'changed', 'busy', 'full', 'not-served', 'map', 'damaged'];
/** So many sizes are wanted at once, of which one comes about: whoever wants them has not heard of the ones before. */
const MAX_WANTED = 3;
const MAX_PAUSE_NS = [20e6, 80e6, 300e6];
const AGAIN_NS = 30e6;
/** One answer of so many is lost on its way. */
const LOST_IN = 8;

const Asks = traceKind((vdisk, node, from, to) =>
  to > 0 ? `resize: vdisk ${vdisk} from ${from} to ${to} blocks, at node ${node}` : `resize: the size of vdisk ${vdisk}, at node ${node}`,
);
const Hears = traceKind(
  (vdisk, node, kind, blocks, term) =>
    `resize: node ${node} says of vdisk ${vdisk}: ${KINDS[kind] ?? 'nothing'}${blocks > 0 ? `, ${blocks} blocks` : ''}${term > 0 ? `, term ${term}` : ''}`,
);

/** Who resizes a vdisk, again and again, whatever goes wrong: what `src/control/vdisk-commands.ts` does, from a machine of its own. It knows of an answer what its controller's term was. */
export class Resizer {
  /** Nothing new is wanted; what was comes to its end. */
  isPaused = false;
  readonly #random: Random;
  /** What is asked for now, by its number; 0: nothing. */
  #asked = 0;
  #lastAsk = 0;
  #wanted: number[] = [];
  #hint: string | null = null;
  readonly #maxPauseNs: number;

  constructor(
    readonly cluster: Cluster,
    readonly vdisk: Vdisk,
    readonly sizes: Sizes,
    /** Of the seed, not of its clock: histories without it stay what they are. */
    seed: number,
    isDriven = false,
  ) {
    this.#random = seededRandom(seed * 31 + vdisk.index + 1);
    this.#maxPauseNs = MAX_PAUSE_NS[this.#below(MAX_PAUSE_NS.length)]!;
    if (!isDriven) this.#later(this.#below(this.#maxPauseNs));
    else this.isPaused = true;
  }

  get isIdle(): boolean {
    return this.#wanted.length === 0 && this.#asked === 0;
  }

  /** From now on that size is wanted; it has not had it. `at`: the node that is asked first. */
  want(blocks: number, at: string | null = null): void {
    this.#hint = at ?? this.#hint;
    const sizeBytes = blocks * BLOCK_BYTES;
    this.sizes.begun(sizeBytes);
    this.#wanted.push(sizeBytes);
    if (this.#asked === 0) this.#ask(sizeBytes);
  }

  /** At the end: large enough for every block that is looked at. */
  growToEnd(): void {
    this.want(this.#unused(VDISK_BLOCKS));
  }

  // ---------------------------------------------------------------- asking

  #later(delayNs: number): void {
    this.cluster.clock.after(1 + delayNs, () => this.#goOn());
  }

  #goOn(): void {
    if (this.#asked > 0) return;
    if (this.isPaused && this.#wanted.length === 0) return;
    if (this.#wanted.length === 0) return this.sizes.isUnheard ? this.#later(AGAIN_NS) : this.want(this.#nextBlocks());
    // Whoever has heard nothing asks the same again, looks what it is now, or thinks of something else.
    const dice = this.isPaused ? 0 : this.#below(6);
    if (dice === 1 && this.#wanted.length < MAX_WANTED) return this.want(this.#nextBlocks());
    this.#ask(dice === 2 ? 0 : this.#wanted.at(-1)!);
  }

  /** 0: only what it is. */
  #ask(toBytes: number): void {
    const { cluster, vdisk, sizes } = this;
    const { clock, network, nodes, trace } = cluster;
    const hinted = nodes.find(({ nodeId }) => nodeId === this.#hint);
    const node = hinted ?? nodes[this.#below(nodes.length)]!;
    this.#hint = null;
    const ask = (this.#asked = ++this.#lastAsk);
    const here = nodes.length + 1;
    const command: VdiskCommand =
      toBytes > 0 ? { kind: 'resize', fromBytes: sizes.sizeBytes, toBytes } : { kind: 'map', offsetBytes: 0, lengthBytes: 0 };
    trace.add(Asks, vdisk.index, node.number, sizes.sizeBytes / BLOCK_BYTES, toBytes / BLOCK_BYTES);
    const travel = (from: number, to: number, arrive: () => void): void =>
      void clock.after(1 + this.#below(MAX_PEER_NS), () => network.wire(from, to)(arrive));
    const back = (answer: VdiskAnswer, term: number): void => {
      if (this.#below(LOST_IN) > 0) travel(node.number, here, () => this.#heard(ask, node.number, answer, term));
    };
    travel(here, node.number, () =>
      node.turn(part =>
        part.command(vdisk.id, command, answer => back(answer, part.groups!.all.get(vdisk.id)?.controller?.state.term ?? 0)),
      ),
    );
    clock.after(COMMAND_SILENT_NS, () => this.#heard(ask, node.number, null, 0));
  }

  #heard(ask: number, node: number, answer: VdiskAnswer | null, term: number): void {
    if (ask !== this.#asked) return;
    this.#asked = 0;
    const { cluster, vdisk } = this;
    const sizeBytes = answer !== null && 'sizeBytes' in answer ? answer.sizeBytes : 0;
    cluster.trace.add(Hears, vdisk.index, node, answer === null ? -1 : KINDS.indexOf(answer.kind), sizeBytes / BLOCK_BYTES, term);
    if (answer?.kind === 'refused') this.#hint = answer.node;
    const isTold = answer?.kind === 'resized' || answer?.kind === 'changed' || answer?.kind === 'map';
    if (isTold && this.#isNews(sizeBytes, term, answer.kind)) {
      cluster.resized++;
      this.sizes.reached(sizeBytes, term);
      this.#wanted = [];
      this.#later(this.#below(this.#maxPauseNs));
    } else this.#later(this.#below(AGAIN_NS));
  }

  /** Whether one of those that were wanted has come about. A controller that has been followed, and does not know, may tell of former ones. */
  #isNews(sizeBytes: number, term: number, kind: string): boolean {
    const { sizes, vdisk, cluster } = this;
    if (sizes.isWanted(sizeBytes)) return true;
    const isFormer = term > 0 && term < sizes.term;
    const isSame = sizeBytes === sizes.sizeBytes && kind !== 'changed';
    if (!isSame && !isFormer && term > 0)
      cluster.complaints.push(
        `vdisk ${vdisk.index}: divergent: it has ${sizeBytes / BLOCK_BYTES} blocks in term ${term} (${kind}), and had ${sizes.sizeBytes / BLOCK_BYTES} in term ${sizes.term}`,
      );
    return false;
  }

  // ---------------------------------------------------------------- what it wants

  /** Much is cut off where there is much, and comes back where there is little. */
  #nextBlocks(): number {
    const { cluster, sizes, vdisk } = this;
    const { hotBlocks } = vdisk.workload;
    const most = (cluster.cutsSegments ? VDISK_BYTES : SMALL_VDISK_BYTES) / BLOCK_BYTES;
    const wide = WIDE.filter(first => first < most);
    const isSmall = sizes.sizeBytes <= hotBlocks * BLOCK_BYTES;
    const dice = this.#below(10);
    if (dice < (isSmall ? 6 : 2)) return this.#unused(most);
    if (dice < 6) return this.#unused(1 + this.#below(hotBlocks));
    if (dice < 9) return this.#unused(wide[this.#below(wide.length)]! + this.#below(5));
    return this.#unused(1 + this.#below(most));
  }

  /** The next one that it has not had. */
  #unused(blocks: number): number {
    while (!this.sizes.isNew(blocks * BLOCK_BYTES)) blocks++;
    return blocks;
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }
}
