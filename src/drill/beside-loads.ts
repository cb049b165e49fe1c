import type { BesideKind, BesideLoad } from './beside.js';
import { FioLoad } from './fio-load.js';
import { GuestLoad } from './guest-load.js';

/** Throws where it cannot be had on this machine. */
export const checkBeside = (kind: BesideKind): void => (kind === 'fio' ? FioLoad : GuestLoad).check();

export function startBeside(kind: BesideKind, nbdSocket: string, exportName: string, seed: number): BesideLoad {
  return kind === 'fio' ? new FioLoad(`nbd+unix:///${exportName}?socket=${nbdSocket}`, seed) : new GuestLoad(nbdSocket, exportName, seed);
}
