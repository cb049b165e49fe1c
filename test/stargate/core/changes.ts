import { EntryKind } from '../../../src/stargate/core/ports.js';
import type { Answer, CoreClient } from './core-client.js';
import { CoreRig } from './core-rig.js';

export const BLOCK = 4096;
const kindNames = Object.fromEntries(Object.entries(EntryKind).map(([name, kind]) => [kind, name]));

/** Entries of changes, as lines: kind, first block + count, part/parts when there are several. */
export function logged(rig: CoreRig): string[] {
  return rig.log.entries
    .filter(({ kind }) => kind <= EntryKind.fullImage)
    .map(({ kind, offsetBytes, lengthBytes, part, parts }) => {
      const where = `${kindNames[kind]} ${offsetBytes / BLOCK}+${lengthBytes / BLOCK}`;
      return parts === 1 ? where : `${where} ${part + 1}/${parts}`;
    });
}

export function started(): { rig: CoreRig; client: CoreClient } {
  const rig = new CoreRig();
  return { rig, client: rig.open() };
}

export function readAll(client: CoreClient, offsetBytes: number, lengthBytes: number): Uint8Array | null {
  client.rig.finish();
  const read = client.read(offsetBytes, lengthBytes);
  client.rig.settle();
  return read.content;
}

export const statuses = (...answers: Answer[]) => answers.map(({ status }) => status);
export const piece = (length: number, value: number) => new Uint8Array(length).fill(value);
