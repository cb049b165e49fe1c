/** A stranger's load beside the drill's own, on a vdisk of its own: it writes, reads and compares, pass after pass. */
export interface BesideLoad {
  /** It writes. Rejects where it does not come to that. */
  ready(): Promise<void>;
  /** After the pass that is under way. */
  stop(): Promise<BesideReport>;
  /** At once. */
  kill(): void;
}

export interface BesideReport {
  readonly load: BesideKind;
  /** Each has written, read and compared its whole region. */
  readonly passes: number;
  /** What went wrong; empty: every pass was without an error. */
  readonly failures: readonly string[];
}

export const BESIDE_LOADS = ['fio', 'guest'] as const;
export type BesideKind = (typeof BESIDE_LOADS)[number];
