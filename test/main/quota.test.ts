import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deal, LEAST_GRANT_BYTES } from '../../src/main/quota.js';

const MIB = 2 ** 20;
const NOBODY = { reservedBytes: 0, vdisks: 0 };
const unused = (count: number) => Array.from({ length: count }, () => ({ usedBytes: 0, openBytes: 0 }));

/** A node that counts, deals, and hears of it later, as the main thread and the shards do. */
class Node {
  readonly vdisks: { used: number; taken: number; limit: number; told: number; reserved: number }[];
  #round = 0;

  constructor(
    readonly quota: number,
    count: number,
  ) {
    this.vdisks = Array.from({ length: count }, () => ({ used: 0, taken: 0, limit: 0, told: 0, reserved: 0 }));
  }

  get used(): number {
    return this.vdisks.reduce((sum, { used }) => sum + used, 0);
  }

  get reserved(): number {
    return this.vdisks.reduce((sum, { reserved }) => sum + reserved, 0);
  }

  write(i: number, bytes: number): number {
    const one = this.vdisks[i % this.vdisks.length]!;
    if (one.taken + bytes > one.limit) return 0;
    one.taken += bytes;
    one.used += bytes;
    return bytes;
  }

  trim(i: number, bytes: number): void {
    const one = this.vdisks[i % this.vdisks.length]!;
    one.used -= Math.min(one.used, bytes);
  }

  /** What it was told before has arrived: messages keep their order. What is dealt now arrives with `hear`. */
  count(elsewhere: { reservedBytes: number; vdisks: number }): void {
    this.hear();
    const counted = this.vdisks.map(({ used, taken, told }) => ({ usedBytes: used, openBytes: Math.max(0, told - taken) }));
    deal(this.quota, counted, elsewhere, this.#round++).forEach(({ bytes }, i) => {
      const one = this.vdisks[i]!;
      one.told = one.taken + bytes;
      one.reserved = one.used + Math.max(bytes, counted[i]!.openBytes);
    });
  }

  hear(): void {
    for (const one of this.vdisks) one.limit = one.told;
  }
}

const step = fc.record({
  kind: fc.constantFrom('write', 'write', 'write', 'trim', 'count', 'hear'),
  node: fc.nat(7),
  vdisk: fc.nat(7),
  bytes: fc.integer({ min: 4_096, max: LEAST_GRANT_BYTES }),
});

describe('a quota is dealt', () => {
  it('the same to each vdisk', () => {
    expect(deal(100 * MIB, unused(4), NOBODY, 0).map(({ bytes }) => bytes)).toEqual([25 * MIB, 25 * MIB, 25 * MIB, 25 * MIB]);
  });

  it('in parts to the nodes', () => {
    expect(deal(100 * MIB, unused(1), { reservedBytes: 20 * MIB, vdisks: 3 }, 0)).toEqual([{ bytes: 20 * MIB, endBytes: 20 * MIB }]);
  });

  it('by turns where the rest is small, so that each comes to write its longest change', () => {
    const rest = 2 * LEAST_GRANT_BYTES;
    const had = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const grants = deal(rest, unused(5), NOBODY, round);
      expect(grants.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(rest);
      grants.forEach(({ bytes }, i) => bytes >= LEAST_GRANT_BYTES && had.add(i));
    }
    expect(had.size).toBe(5);
  });

  it('not at all when nothing is left, or less than nothing', () => {
    expect(deal(MIB, [{ usedBytes: 2 * MIB, openBytes: 0 }], NOBODY, 0)).toEqual([{ bytes: 0, endBytes: 0 }]);
    expect(deal(MIB, [], NOBODY, 0)).toEqual([]);
  });

  it('so that one node never goes beyond it, whenever it counts and whenever shards hear of it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 64 * MIB }),
        fc.array(step, { maxLength: 300 }),
        (vdisks, quota, steps) => {
          const node = new Node(quota, vdisks);
          for (const { kind, vdisk, bytes } of steps) {
            if (kind === 'write') node.write(vdisk, bytes);
            else if (kind === 'trim') node.trim(vdisk, bytes);
            else if (kind === 'count') node.count(NOBODY);
            else node.hear();
            expect(node.used).toBeLessThanOrEqual(quota);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('and several nodes by no more than what the others have taken since they were asked', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 4 }),
        fc.integer({ min: 0, max: 64 * MIB }),
        fc.array(step, { maxLength: 300 }),
        (count, quota, steps) => {
          const nodes = Array.from({ length: count }, () => new Node(quota, 2));
          /** What each heard of the others at its last count, and what those have written since. */
          const unheard = nodes.map(() => 0);
          let allowed = 0;
          for (const { kind, node: at, vdisk, bytes } of steps) {
            const i = at % count;
            const node = nodes[i]!;
            if (kind === 'write') {
              const written = node.write(vdisk, bytes);
              unheard.forEach((_, j) => j !== i && (unheard[j]! += written));
            } else if (kind === 'count') {
              node.count({
                reservedBytes: nodes.reduce((sum, one) => sum + (one === node ? 0 : one.reserved), 0),
                vdisks: 2 * (count - 1),
              });
              unheard[i] = 0;
            } else if (kind === 'hear') node.hear();
            allowed = Math.max(allowed, ...unheard);
            expect(nodes.reduce((sum, one) => sum + one.used, 0)).toBeLessThanOrEqual(quota + allowed);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
