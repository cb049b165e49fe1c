import type { Engine } from '../../src/engine.js';

/** One engine to be held to its contract, and what there is around it. */
export interface World {
  readonly engine: Engine;
  /** An empty directory of the engine's file system, for files and socket files. */
  readonly directory: string;
  readonly features: Features;
  /** O_DIRECT is refused where it is not aligned. */
  readonly hasDirect: boolean;
  /** Space that a file takes. */
  spaceBytes(path: string): number;
  /** Destroys the engine and what it lived on. */
  close(): void;
}

/** What an engine is held to beyond what all have. */
export interface Features {
  /** Sockets, and descriptors of this process. */
  readonly sockets: boolean;
  /** Sockets can be released. */
  readonly release: boolean;
  /** Holes give space back. */
  readonly holes: boolean;
}

export type MakeWorld = () => World;

export const ARENA_BYTES = 8 << 20;
