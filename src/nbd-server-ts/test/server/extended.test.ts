import { afterEach, describe, expect, test } from 'vitest';
import { MAX_EFFECT_BYTES, MAX_EFFECT_PIECES } from '../../src/limits.js';
import { Command } from '../../src/protocol/constants.js';
import { openSession, type Session } from '../support/session.js';
import { RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';
import type { ServerSetup } from '../support/setup.js';

describe.each(ENGINES)('64-bit lengths, %s', engine => {
  let server: TestServer;
  const clients: RawClient[] = [];
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await server.stop();
  });

  async function session(setup: Partial<ServerSetup>, contexts?: readonly string[]): Promise<Session> {
    server = await TestServer.start({ engine, ...setup });
    const client = await RawClient.connect(server.socketPath);
    clients.push(client);
    await client.begin();
    return openSession(client, 'huge', { extended: true, ...(contexts === undefined ? {} : { contexts }) });
  }

  test.each([Command.trim, Command.writeZeroes, Command.cache])('command %i is cut into pieces, a few at a time', async type => {
    const one = await session({ hugeFailFrom: Infinity });
    const length = 10 * MAX_EFFECT_BYTES + 5;
    expect(await one.errno({ type, offset: 3, length })).toBe(0);
    const { asked, mostAtOnce } = await server.status();
    expect(asked.length).toBe(11);
    let at = 3;
    for (const [op, offset, bytes] of asked) {
      expect([op, offset]).toEqual([type, at]);
      at += bytes;
    }
    expect(at).toBe(3 + length);
    expect(mostAtOnce).toBe(MAX_EFFECT_PIECES);
    expect(await one.errno({ type: Command.flush })).toBe(0);
  });

  test('one that fails goes no further', async () => {
    const one = await session({ hugeFailFrom: 2 * MAX_EFFECT_BYTES });
    expect(await one.errno({ type: Command.writeZeroes, length: 2 ** 50 })).toBe(28);
    const { asked } = await server.status();
    expect(asked.length).toBeLessThanOrEqual(2 * MAX_EFFECT_PIECES);
    expect(await one.errno({ type: Command.flush })).toBe(0);
  });

  test('a server that closes in the middle', async () => {
    const one = await session({ hugeFailFrom: Infinity });
    one.send({ type: Command.trim, length: 2 ** 50 });
    await server.until('it is under way', status => status.asked.length > 8);
    await server.command({ kind: 'close', options: { deadlineMs: 20 } });
    await server.whenClosed();
    await one.client.end();
  });

  test('BLOCK_STATUS of everything, in several contexts', async () => {
    const one = await session({ hugeFailFrom: Infinity }, ['base:allocation', 'x-test:two', 'x-test:one']);
    const { errno, status } = await one.perform({ type: Command.blockStatus, length: 2 ** 50 });
    expect(errno).toBe(0);
    expect([...status]).toEqual([
      [3, [[MAX_EFFECT_BYTES, 2]]],
      [2, [[MAX_EFFECT_BYTES, 1]]],
      [1, [[MAX_EFFECT_BYTES, 0]]],
    ]);
  });
});
