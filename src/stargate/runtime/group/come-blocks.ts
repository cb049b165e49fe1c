import { newBlockStates, type BlockStates, type DrainCommit } from '../../core/ports.js';
import { RESYNC_BLOCKS } from './limits.js';

/** The blocks of one segment that a resync has brought: the last version of each. Takes memory for those places only where some have come. */
export class ComeBlocks {
  /** What is absent has not come. */
  readonly #pages = new Map<number, BlockStates>();

  clear(): void {
    this.#pages.clear();
  }

  set(block: number, state: number, crc: number, seq: number): void {
    const number = Math.floor(block / RESYNC_BLOCKS);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = newBlockStates(RESYNC_BLOCKS);
      this.#pages.set(number, page);
    }
    const i = block % RESYNC_BLOCKS;
    page.state[i] = state;
    page.crc[i] = crc;
    page.seq[i] = seq;
  }

  /** Whether all are of entries behind `fromSeq`, up to `toSeq`. */
  isWithin(fromSeq: number, toSeq: number): boolean {
    return [...this.#pages.values()].every(({ state, seq }) =>
      state.every((one, i) => one === 0 || (seq[i]! > fromSeq && seq[i]! <= toSeq)),
    );
  }

  /** Ascending, each block a run. */
  runs(): Pick<DrainCommit, 'count' | 'block' | 'blocks' | 'state' | 'crc' | 'seq'> {
    const pages = [...this.#pages].sort(([a], [b]) => a - b);
    const count = pages.reduce((sum, [, { state }]) => sum + state.reduce((come, one) => come + (one === 0 ? 0 : 1), 0), 0);
    const [block, state, crc, seq] = [new Int32Array(count), new Uint8Array(count), new Uint32Array(count), new Float64Array(count)];
    let n = 0;
    for (const [number, page] of pages) {
      for (let i = 0; i < RESYNC_BLOCKS; i++) {
        if (page.state[i] === 0) continue;
        block[n] = number * RESYNC_BLOCKS + i;
        state[n] = page.state[i]!;
        crc[n] = page.crc[i]!;
        seq[n++] = page.seq[i]!;
      }
    }
    return { count, block, blocks: new Int32Array(count).fill(1), state, crc, seq };
  }
}
