import assert from 'node:assert/strict';
import { ascii, hex, u16, u32, unhex } from '../../../src/nbd-server-ts/test/support/hex.js';
import { encodeOption, type OptionAnswer } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Look, type Row } from '../row.js';
import { Cmd, Has, infoData, MIB, nameData, Option, Rep, verdictOf } from '../../../src/nbd-server-ts/test/support/session.js';
import { inStep, refused } from './steps.js';

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
    title: 'unknown option → ERR_UNSUP, stays in step (data drained, any length up to a bound)',
    rule: 'MUST',
    checks: {
      ...Object.fromEntries(
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
      'data beyond every bound: the connection ends, the server goes on': async look => {
        const client = await look.greeted();
        client.send(unhex(ascii('IHAVEOPT') + u32(0x7f00_0001) + u32(0xffff_ffff)));
        // 64 MiB of it: a server that reads on would take all of the 4 GiB.
        for (let i = 0; i < 64 && !client.ended; i++) {
          client.send(Buffer.alloc(MIB));
          await new Promise(resolve => setTimeout(resolve, 2));
        }
        for (let i = 0; i < 100 && !client.ended; i++) await new Promise(resolve => setTimeout(resolve, 20));
        assert.ok(client.ended, 'it takes all of it');
        await inStep(await look.greeted(), (await look.endpoint()).exportName);
      },
    },
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
];
