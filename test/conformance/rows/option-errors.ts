import assert from 'node:assert/strict';
import { RawClient } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Look, type Row } from '../row.js';
import {
  Cmd,
  infoData,
  openSession,
  Option,
  refusal,
  Rep,
  verdictOf,
  type Session,
} from '../../../src/nbd-server-ts/test/support/session.js';
import { inStep, refused } from './steps.js';

export const OPTION_ERROR_ROWS: readonly Row[] = [
  {
    title: 'ERR_BLOCK_SIZE_REQD, ERR_SHUTDOWN, ERR_POLICY where they apply; ERR_TOO_BIG',
    rule: 'MAY',
    checks: {
      ERR_BLOCK_SIZE_REQD: async look => {
        const client = await look.greeted('minimumBlock');
        const { exportName: name } = await look.endpoint('minimumBlock');
        const answers = await client.option(Option.info, infoData(name));
        if (verdictOf(answers) === Rep.ack) throw new NotOffered('clients need not ask for the block size');
        assert.equal(refusal(verdictOf(answers)), refusal(Rep.blockSizeRequired));
        await refused(client, Option.go, infoData(name), Rep.blockSizeRequired);
        assert.equal(verdictOf(await client.option(Option.info, infoData(name, [3]))), Rep.ack);
      },
      ERR_POLICY: async look => {
        const client = await look.greeted('noList');
        await refused(client, Option.list, '', Rep.policy);
        await inStep(client, (await look.endpoint('noList')).exportName);
      },
      ERR_TOO_BIG: async look => {
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        const items = Array.from({ length: 30_000 }, (_, i) => i);
        const answers = await client.option(Option.info, infoData(name, items)).catch(() => null);
        if (answers === null || verdictOf(answers) === Rep.ack) throw new NotOffered('it is not too big, or closes');
        assert.equal(refusal(verdictOf(answers)), refusal(Rep.tooBig));
        await inStep(client, name);
      },
      ERR_SHUTDOWN: look =>
        whileClosing(look, async ({ client, name }) => {
          await refused(client, Option.info, infoData(name), Rep.shutdown);
          assert.deepEqual(await client.option(Option.abort), [{ option: Option.abort, type: Rep.ack, data: '' }]);
        }),
    },
  },
];

const SHUTDOWN_ATTEMPTS = 10;

interface Closing {
  /** In the negotiation. */
  readonly client: RawClient;
  readonly name: string;
  /** In the transmission phase, with a FLUSH that the server still works on. */
  readonly session: Session;
}

/** A server that closes waits for clients in the handshake for a moment only: on a busy machine it may be over. Then once more. */
export async function whileClosing(look: Look, check: (closing: Closing) => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await meetShutdown(look, check);
    } catch (error) {
      if (attempt === SHUTDOWN_ATTEMPTS || !/closed before/.test(String(error))) throw error;
    }
  }
}

async function meetShutdown(look: Look, check: (closing: Closing) => Promise<void>): Promise<void> {
  const closing = await look.peer.closing?.();
  if (closing === undefined) throw new NotOffered('cannot be seen closing from outside');
  try {
    const { target, exportName: name } = closing.endpoint;
    const [client, busy] = [look.adopt(await RawClient.connect(target)), look.adopt(await RawClient.connect(target))];
    await Promise.all([client.begin(), busy.begin()]);
    const session = await openSession(busy, name, {});
    session.send({ type: Cmd.flush });
    await closing.begin();
    await check({ client, name, session });
  } finally {
    await closing.end();
  }
}
