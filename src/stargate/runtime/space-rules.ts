import type { EnospcPolicy } from '../../meta/model.js';
import { SpaceRule } from '../core/space-rule.js';

/** What the metadata, and whoever counts for the whole container, say of a vdisk: see {@link SpaceRule}. */
export interface VdiskSpace {
  readonly vdiskId: string;
  readonly onFull: EnospcPolicy;
  readonly limitBytes: number;
  readonly endBytes: number;
}

/** The rules of a shard's vdisks. What is said of a vdisk may come before the vdisk. */
export class SpaceRules {
  readonly #rules = new Map<string, SpaceRule>();

  /** `fallback`: of vdisks of which nothing was said. */
  constructor(readonly fallback: EnospcPolicy) {}

  of(vdiskId: string): SpaceRule {
    let rule = this.#rules.get(vdiskId);
    if (rule === undefined) {
      rule = new SpaceRule();
      rule.onFull = this.fallback;
      this.#rules.set(vdiskId, rule);
    }
    return rule;
  }

  /** True: it is another rule now. */
  set({ vdiskId, onFull, limitBytes, endBytes }: VdiskSpace): boolean {
    const rule = this.of(vdiskId);
    if (rule.onFull === onFull && rule.limitBytes === limitBytes && rule.endBytes === endBytes) return false;
    rule.onFull = onFull;
    rule.limitBytes = limitBytes;
    rule.endBytes = endBytes;
    return true;
  }

  forget(vdiskId: string): void {
    this.#rules.delete(vdiskId);
  }
}
