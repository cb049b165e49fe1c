import assert from 'node:assert/strict';
import { u16, u32, unhex } from '../../../src/nbd-server-ts/test/support/hex.js';
import { encodeOption } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import type { EndpointKind } from '../peer.js';
import { NotOffered, type Look, type Row } from '../row.js';
import { infoData, nameData, Option, refusal, Rep, verdictOf } from '../../../src/nbd-server-ts/test/support/session.js';
import { inStep, refused, structuredClient } from './steps.js';

/** What an export name cannot be. */
const BAD_NAMES: Readonly<Record<string, string>> = {
  'a name of 4097 bytes': '61'.repeat(4097),
  'a NUL in a name': '610062',
  'a name that is not UTF-8': 'c3286162',
  'a surrogate in a name': 'eda080',
  'an overlong form in a name': 'c0af',
};

export const STRING_ROWS: readonly Row[] = [
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
      'EXPORT_NAME of a bad name closes': async look => {
        for (const name of Object.values(BAD_NAMES)) {
          const client = await look.greeted();
          client.send(encodeOption(Option.exportName, name));
          assert.equal((await client.end()).length, 0, 'an answer');
        }
      },
      'LIST and SET_META_CONTEXT of a bad name': async look => {
        const { client, name: good } = await structuredClient(look);
        for (const [what, name] of Object.entries(BAD_NAMES))
          for (const option of [Option.listContexts, Option.setContexts]) {
            const data = u32(name.length / 2) + name + u32(0);
            const answer = await refused(client, option, data, Rep.invalid, Rep.tooBig, Rep.unknown);
            assert.ok(!answer.data.includes(name), `${what} is echoed`);
          }
        await inStep(client, good);
      },
      'a bad query is refused or passed over': async look => {
        const { client, name: good } = await structuredClient(look);
        for (const [what, query] of Object.entries(BAD_NAMES))
          for (const option of [Option.listContexts, Option.setContexts]) {
            const answers = await client.option(option, nameData(good) + u32(1) + u32(query.length / 2) + query);
            const [answer] = answers;
            assert.ok(answers.length === 1 && [Rep.ack, Rep.invalid, Rep.tooBig].some(type => type === answer!.type), what);
            assert.ok(!answer!.data.includes(query), `${what} is echoed`);
          }
        await inStep(client, good);
      },
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
      ...Object.fromEntries(
        (['plain', 'minimumBlock'] as const).map(kind => [
          kind === 'plain' ? 'block size' : 'block size of an export with a minimum',
          async (look: Look) => {
            const data = await infoItem(look, 3, kind);
            if (data === null) throw new NotOffered('no INFO_BLOCK_SIZE');
            assert.equal(data.length, 28);
            const [min, preferred, max] = [0, 1, 2].map(i => parseInt(data.slice(4 + 8 * i, 12 + 8 * i), 16)) as [number, number, number];
            const power = (n: number): boolean => n > 0 && Number.isInteger(Math.log2(n));
            assert.ok(power(min) && min <= 65_536, `minimum ${min}`);
            assert.ok(power(preferred) && preferred >= 512 && preferred >= min, `preferred ${preferred}`);
            assert.ok(max === 0xffff_ffff || (max % min === 0 && max >= preferred), `maximum ${max}`);
          },
        ]),
      ),
      name: async look => {
        const data = await infoItem(look, 1);
        if (data === null) throw new NotOffered('no INFO_NAME');
        assert.equal(Buffer.from(data.slice(4), 'hex').toString(), (await look.endpoint()).exportName);
      },
      'description, the same in LIST': async look => {
        const data = await infoItem(look, 2);
        if (data === null) throw new NotOffered('no INFO_DESCRIPTION');
        const text = stringOf(data.slice(4));
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        const listed = (await client.option(Option.list)).find(({ data }) => data.startsWith(nameData(name)));
        assert.equal(stringOf(listed!.data.slice(nameData(name).length)), text);
      },
      'an unknown item is passed over': async look => {
        const client = await look.greeted();
        const answers = await client.option(Option.info, infoData((await look.endpoint()).exportName, [0x7777, 0x8888]));
        assert.equal(refusal(verdictOf(answers)), refusal(Rep.ack));
      },
    },
  },
];

async function infoItem(look: Look, item: number, kind: EndpointKind = 'plain'): Promise<string | null> {
  const client = await look.greeted(kind);
  const answers = await client.option(Option.info, infoData((await look.endpoint(kind)).exportName, [item]));
  assert.equal(verdictOf(answers), Rep.ack);
  return answers.find(({ type, data }) => type === Rep.info && data.startsWith(u16(item)))?.data ?? null;
}

/** A string of the protocol, from its hex digits. */
function stringOf(hex: string): string {
  assert.ok(hex.length <= 2 * 4096 && hex.length > 0);
  const text = new TextDecoder('utf-8', { fatal: true }).decode(unhex(hex));
  assert.ok(!text.includes('\0'));
  return text;
}
