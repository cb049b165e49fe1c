import assert from 'node:assert/strict';
import { ascii, hex, u16, u32, unhex } from '../../../src/nbd-server-ts/test/support/hex.js';
import { encodeOption, RawClient, type OptionAnswer } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Look, type Row } from '../row.js';
import {
  Cmd,
  Errno,
  Has,
  infoData,
  nameData,
  openSession,
  Option,
  refusal,
  Rep,
  verdictOf,
} from '../../../src/nbd-server-ts/test/support/session.js';

/** The negotiation goes on: an option after the one looked at is answered as it should be. */
export async function inStep(client: RawClient, name: string): Promise<void> {
  const answers = await client.option(Option.info, infoData(name));
  assert.equal(refusal(verdictOf(answers)), refusal(Rep.ack), 'an INFO after it');
}

export async function refused(client: RawClient, option: number, data: string, ...expected: readonly number[]): Promise<OptionAnswer> {
  const answers = await client.option(option, data);
  const answer = answers.at(-1)!;
  assert.ok(expected.includes(answer.type), `${refusal(answer.type)} where ${expected.map(refusal).join(' or ')} belongs`);
  assert.equal(answers.length, 1, 'nothing but the refusal');
  assert.equal(answer.option, option, 'the refusal names its option');
  checkText(answer.data);
  return answer;
}

/** The text of a refusal is a string of the protocol. */
function checkText(data: string): void {
  const text = unhex(data);
  assert.ok(text.length <= 4096 && !text.includes(0), 'the text of a refusal is a string of the protocol');
  new TextDecoder('utf-8', { fatal: true }).decode(text);
}

async function exportName(look: Look, flags: number, expectedBytes: number): Promise<void> {
  const client = await look.greeted('plain', flags);
  const { exportName: name } = await look.endpoint();
  client.send(encodeOption(Option.exportName, ascii(name)));
  const answer = await client.read(expectedBytes);
  assert.ok(answer.readBigUInt64BE(0) > 0n, 'a size');
  assert.ok((answer.readUInt16BE(8) & Has.flags) !== 0, 'HAS_FLAGS');
  assert.ok(
    answer.subarray(10).every(byte => byte === 0),
    'zeroes behind it',
  );
  client.request({ type: Cmd.read, length: 512, cookie: 7n });
  assert.deepEqual(await client.reply(), { kind: 'simple', errno: 0, cookie: 7n });
}

const MALFORMED: Readonly<Record<string, (name: string) => string>> = {
  'no data': () => '',
  'a name longer than the data': name => u32(500) + ascii(name) + u16(0),
  'a name of 2^32 - 1 bytes': name => 'ffffffff' + ascii(name) + u16(0),
  'more requests than there are': name => nameData(name) + u16(2) + u16(3),
  'no count': name => nameData(name),
  'bytes behind the requests': name => infoData(name) + '00',
};

/** What an export name cannot be. */
const BAD_NAMES: Readonly<Record<string, string>> = {
  'a name of 4097 bytes': '61'.repeat(4097),
  'a NUL in a name': '610062',
  'a name that is not UTF-8': 'c3286162',
  'a surrogate in a name': 'eda080',
  'an overlong form in a name': 'c0af',
};

export const HANDSHAKE_ROWS: readonly Row[] = [
  {
    title: 'greeting with FIXED_NEWSTYLE and NO_ZEROES only',
    rule: 'MUST',
    checks: {
      greeting: async look => {
        const client = await look.connect();
        assert.equal(hex(await client.read(18)), ascii('NBDMAGICIHAVEOPT') + '0003');
      },
    },
  },
  {
    title: 'unknown client flag: drop the connection',
    rule: 'MUST',
    checks: Object.fromEntries(
      [4, 0x8000_0003].map(flags => [
        `flags ${flags.toString(16)}`,
        async (look: Look) => {
          const client = await look.greeted('plain', flags);
          client.send(encodeOption(Option.abort));
          assert.equal((await client.end()).length, 0, 'an answer to an option');
        },
      ]),
    ),
  },
  {
    title: 'EXPORT_NAME, 10 or 10+124 bytes',
    rule: 'MUST',
    checks: { NO_ZEROES: look => exportName(look, 3, 10), 'with zeroes': look => exportName(look, 1, 134) },
  },
  {
    title: 'unknown option → ERR_UNSUP, stays in step (data drained)',
    rule: 'MUST',
    checks: Object.fromEntries(
      [0, 7, 4096, 60_000].map(bytes => [
        `${bytes} bytes`,
        async (look: Look) => {
          const client = await look.greeted();
          await refused(client, 0x7f00_0001, '5a'.repeat(bytes), Rep.unsupported);
          await refused(client, 4, '', Rep.unsupported);
          await inStep(client, (await look.endpoint()).exportName);
        },
      ]),
    ),
  },
  {
    title: 'ABORT → ACK, even when it carries data',
    rule: 'MUST',
    checks: Object.fromEntries(
      ['', 'deadbeef'].map(data => [
        data === '' ? 'no data' : 'with data',
        async (look: Look) => {
          const client = await look.greeted();
          assert.deepEqual(await client.option(Option.abort, data), [{ option: Option.abort, type: Rep.ack, data: '' }]);
          assert.equal((await client.end()).length, 0);
        },
      ]),
    ),
  },
  {
    title: 'LIST; LIST with data → ERR_INVALID',
    rule: 'MUST',
    checks: {
      list: async look => {
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        const answers = await client.option(Option.list);
        if (verdictOf(answers) === Rep.policy || verdictOf(answers) === Rep.unsupported) throw new NotOffered('LIST is refused');
        assert.equal(verdictOf(answers), Rep.ack);
        const names = answers.slice(0, -1).map(({ type, data }) => {
          assert.equal(type, Rep.server);
          return Buffer.from(data.slice(8, 8 + 2 * parseInt(data.slice(0, 8), 16)), 'hex').toString();
        });
        assert.ok(names.includes(name), `${JSON.stringify(name)} is in ${JSON.stringify(names)}`);
      },
      'with data': async look => {
        const client = await look.greeted();
        await refused(client, Option.list, '00', Rep.invalid, Rep.policy);
        await inStep(client, (await look.endpoint()).exportName);
      },
    },
  },
  {
    title: 'INFO and GO with INFO_EXPORT, the same answers (size included)',
    rule: 'MUST',
    checks: {
      'INFO, GO, EXPORT_NAME': async look => {
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        const info = await client.option(Option.info, infoData(name, [0, 1, 2, 3]));
        const go = await client.option(Option.go, infoData(name, [0, 1, 2, 3]));
        const contents = (answers: OptionAnswer[]): string[] => answers.map(({ type, data }) => `${type} ${data}`).sort();
        assert.equal(verdictOf(info), Rep.ack);
        assert.deepEqual(contents(info), contents(go));
        const told = info.filter(({ data }) => data.startsWith('0000'));
        assert.equal(told.length, 1, 'INFO_EXPORT');
        assert.equal(told[0]!.data.length, 24);
        const old = await look.greeted();
        old.send(encodeOption(Option.exportName, ascii(name)));
        assert.equal(hex(await old.read(10)), told[0]!.data.slice(4), 'EXPORT_NAME says the same');
      },
    },
  },
  {
    title: 'unknown export: GO → ERR_UNKNOWN, EXPORT_NAME closes',
    rule: 'MUST',
    checks: {
      'INFO, GO': async look => {
        const client = await look.greeted();
        await refused(client, Option.info, infoData('no such export'), Rep.unknown);
        await refused(client, Option.go, infoData('no such export'), Rep.unknown);
        await inStep(client, (await look.endpoint()).exportName);
      },
      EXPORT_NAME: async look => {
        const client = await look.greeted();
        client.send(encodeOption(Option.exportName, ascii('no such export')));
        assert.equal((await client.end()).length, 0);
      },
    },
  },
  {
    title: 'malformed INFO/GO (lengths that do not add up) → ERR_INVALID, at once',
    rule: 'SHOULD',
    checks: Object.fromEntries(
      Object.entries(MALFORMED).map(([what, data]) => [
        what,
        async (look: Look) => {
          const { exportName: name } = await look.endpoint();
          for (const option of [Option.info, Option.go]) {
            const client = await look.greeted();
            await refused(client, option, data(name), Rep.invalid);
            await inStep(client, name);
          }
        },
      ]),
    ),
  },
  {
    title: 'strings ≤ 4096 bytes, valid UTF-8, no NUL; an invalid name is not echoed',
    rule: 'MUST',
    checks: {
      ...Object.fromEntries(
        Object.entries(BAD_NAMES).map(([what, name]) => [
          what,
          async (look: Look) => {
            const { exportName: good } = await look.endpoint();
            const client = await look.greeted();
            const data = u32(name.length / 2) + name + u16(0);
            for (const option of [Option.info, Option.go]) {
              const answer = await refused(client, option, data, Rep.invalid, Rep.tooBig, Rep.unknown);
              assert.ok(!answer.data.includes(name), 'the name is echoed');
            }
            await inStep(client, good);
          },
        ]),
      ),
      'a name of 4096 bytes': async look => {
        const client = await look.greeted();
        await refused(client, Option.info, infoData('é'.repeat(2048)), Rep.unknown);
        await inStep(client, (await look.endpoint()).exportName);
      },
    },
  },
  {
    title: 'INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE (min power of 2 ≤ 64 KiB, preferred ≥ 512, max)',
    rule: 'MAY',
    checks: {
      'block size': async look => {
        const data = await infoItem(look, 3);
        if (data === null) throw new NotOffered('no INFO_BLOCK_SIZE');
        const [min, preferred, max] = [0, 1, 2].map(i => parseInt(data.slice(4 + 8 * i, 12 + 8 * i), 16)) as [number, number, number];
        const power = (n: number): boolean => n > 0 && Number.isInteger(Math.log2(n));
        assert.ok(power(min) && min <= 65_536, `minimum ${min}`);
        assert.ok(power(preferred) && preferred >= 512 && preferred >= min, `preferred ${preferred}`);
        assert.ok(max === 0xffff_ffff || (max % min === 0 && max >= preferred), `maximum ${max}`);
      },
      name: async look => {
        const data = await infoItem(look, 1);
        if (data === null) throw new NotOffered('no INFO_NAME');
        assert.equal(Buffer.from(data.slice(4), 'hex').toString(), (await look.endpoint()).exportName);
      },
      'an unknown item is passed over': async look => {
        const client = await look.greeted();
        const answers = await client.option(Option.info, infoData((await look.endpoint()).exportName, [0x7777, 0x8888]));
        assert.equal(refusal(verdictOf(answers)), refusal(Rep.ack));
      },
    },
  },
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
      ERR_SHUTDOWN: async look => {
        // A server that closes waits for clients in the handshake for a moment only: on a busy machine it may be over.
        for (let attempt = 1; ; attempt++) {
          try {
            return await meetShutdown(look);
          } catch (error) {
            if (attempt === SHUTDOWN_ATTEMPTS || !/closed before/.test(String(error))) throw error;
          }
        }
      },
    },
  },
];

async function infoItem(look: Look, item: number): Promise<string | null> {
  const client = await look.greeted();
  const answers = await client.option(Option.info, infoData((await look.endpoint()).exportName, [item]));
  assert.equal(verdictOf(answers), Rep.ack);
  return answers.find(({ type, data }) => type === Rep.info && data.startsWith(u16(item)))?.data ?? null;
}

const SHUTDOWN_ATTEMPTS = 10;

async function meetShutdown(look: Look): Promise<void> {
  const closing = await look.peer.closing?.();
  if (closing === undefined) throw new NotOffered('cannot be seen closing from outside');
  try {
    const { target, exportName: name } = closing.endpoint;

    const [client, busy] = [look.adopt(await RawClient.connect(target)), look.adopt(await RawClient.connect(target))];
    await Promise.all([client.begin(), busy.begin()]);
    const session = await openSession(busy, name, {});
    session.send({ type: Cmd.flush });
    await closing.begin();
    await refused(client, Option.info, infoData(name), Rep.shutdown);
    assert.deepEqual(await client.option(Option.abort), [{ option: Option.abort, type: Rep.ack, data: '' }]);
    session.send({ type: Cmd.read, length: 512 });
    assert.equal((await session.answers(1))[0]!.errno, Errno.shutdown);
  } finally {
    await closing.end();
  }
}
