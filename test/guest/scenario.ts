import { afterAll, afterEach } from 'vitest';
import { expect } from 'vitest';
import { missingNote, missingPrograms } from '../support/programs.js';
import type { NbdSystem } from '../support/system.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { GUEST_PROGRAMS } from '../../src/drill/guest/initramfs.js';
import { hasKernel, KERNEL_PACKAGE } from '../../src/drill/guest/kernel.js';
import { troubleIn, type GuestDisk } from '../../src/drill/guest/machine.js';
import { GUEST_TOOLS, type GuestResult } from './runner/guest.js';

/** Programs and kernel that guest tests need and this machine has not. */
export function missingForGuests(...more: readonly string[]): { readonly skip: boolean; readonly note: string } {
  const missing = [...missingPrograms(...GUEST_PROGRAMS, ...GUEST_TOOLS, ...more), ...(hasKernel() ? [] : [KERNEL_PACKAGE])];
  return { skip: missing.length > 0, note: missingNote(missing) };
}

export function diskOf(system: NbdSystem, reconnectDelaySec = 0): GuestDisk {
  return { kind: 'nbd', socket: system.socket, exportName: system.exportName, reconnectDelaySec };
}

/** The script came to its end with status 0, and the kernel has nothing to complain of. */
export function expectHealthy(result: GuestResult): void {
  expect(troubleIn(result.kernelLog), result.output).toEqual([]);
  expect(result, result.output + result.kernelLog).toMatchObject({ ended: 'exit', exitStatus: 0 });
}

/** A directory for the file's tests, and a list of clean-ups that run after each test, last one first. */
export function useScenario(): { readonly dir: string; readonly defer: (cleanUp: () => Promise<unknown> | void) => void } {
  const dir = makeTempDir('guests');
  const cleanUps: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });
  afterAll(() => removeTempDir(dir));
  return { dir, defer: cleanUp => void cleanUps.push(cleanUp) };
}
