import { RawClient } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import type { TestServer } from '../../../src/nbd-server-ts/test/support/server.js';
import { openSession } from '../../../src/nbd-server-ts/test/support/session.js';
import { Random } from '../../support/random.js';
import { makeCase } from './cases.js';

export interface FuzzTargets {
  readonly plain: TestServer;
  readonly tls: TestServer;
}

/** After so many cases: a new client is served, and all that went are gone. */
const CHECK_EVERY = 20;

/** Runs one case. It is the client's to be refused, closed or answered; what it may not do is to harm the server. */
export async function runCase(seed: number, { plain, tls }: FuzzTargets): Promise<string> {
  const random = new Random(seed);
  const fuzzCase = makeCase(random);
  const client = await RawClient.connect((fuzzCase.tls ? tls : plain).socketPath);
  try {
    await fuzzCase.run(client);
  } catch (error) {
    // Closed in the middle of something: as it should be. Silence is not.
    if (/timed out/.test(String(error))) throw error;
  }
  // Some say that they go, some are slow to.
  if (random.below(2) === 0) client.socket.end();
  if (random.below(2) === 0) await new Promise(resolve => setImmediate(resolve));
  client.destroy();
  return fuzzCase.what;
}

export async function checkAlive({ plain, tls }: FuzzTargets): Promise<void> {
  for (const server of [plain, tls]) await server.until('all that went are gone', status => status.counters.openConnections === 0);
  const client = await RawClient.connect(plain.socketPath);
  try {
    await client.begin();
    await (await openSession(client, 'still', {})).inStep();
  } finally {
    client.destroy();
  }
}

/** Cases from `firstSeed` on while `goOn` says so; throws with the seeds that a failure can come from. */
export async function fuzz(firstSeed: number, targets: FuzzTargets, goOn: (done: number) => boolean): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (let done = 0; goOn(done); done++) {
    const seed = firstSeed + done;
    try {
      const what = await runCase(seed, targets);
      counts.set(what, (counts.get(what) ?? 0) + 1);
      if (done % CHECK_EVERY === CHECK_EVERY - 1) await checkAlive(targets);
    } catch (error) {
      throw new Error(`seeds ${Math.max(firstSeed, seed - CHECK_EVERY)} to ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  await checkAlive(targets);
  return counts;
}
