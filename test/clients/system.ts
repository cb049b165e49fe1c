import { afterAll, beforeAll } from 'vitest';
import { NbdClient } from '../support/nbd/client.js';
import { nbdUri, type NbdSystem } from '../support/system.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { systemUnderTest } from '../support/under-test.js';

export interface ClientBench {
  readonly dir: string;
  readonly uri: string;
  readonly system: NbdSystem;
  /** A connection of the suite's own client, to look at what a foreign one has done. */
  connect(): Promise<NbdClient>;
}

/** One running system for a file of client tests; the vdisk is as the test before has left it, so tests bring their own content. */
export function useClientBench(vdisk: string, size: string): () => ClientBench {
  const dir = makeTempDir('client');
  let bench: ClientBench | undefined;
  beforeAll(async () => {
    const system = await systemUnderTest(dir, vdisk, size);
    await system.start();
    const connect = () => NbdClient.connect({ socket: system.socket }, system.exportName);
    bench = { dir, system, uri: nbdUri(system.socket, vdisk), connect };
  });
  afterAll(async () => {
    try {
      await bench?.system.stop();
    } finally {
      removeTempDir(dir);
    }
  });
  return () => {
    if (bench === undefined) throw new Error('the system is not started');
    return bench;
  };
}
