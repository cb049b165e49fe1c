import assert from 'node:assert/strict';
import { ascii, u32 } from '../../../src/nbd-server-ts/test/support/hex.js';
import type { OptionAnswer } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Look, type Row } from '../row.js';
import {
  Cmd,
  contextsData,
  Errno,
  Flag,
  Has,
  MIB,
  nameData,
  openSession,
  Option,
  refusal,
  Rep,
  verdictOf,
  type Session,
} from '../../../src/nbd-server-ts/test/support/session.js';
import { inStep, refused, structuredClient } from './steps.js';

const BASE = 'base:allocation';
/** NBD_STATE_ZERO */
const ZERO = 2;

function contextsOf(answers: readonly OptionAnswer[]): { id: number; name: string }[] {
  assert.equal(refusal(verdictOf(answers)), refusal(Rep.ack));
  return answers.slice(0, -1).map(({ type, data }) => {
    assert.equal(type, Rep.context);
    return { id: parseInt(data.slice(0, 8), 16), name: Buffer.from(data.slice(8), 'hex').toString() };
  });
}

/** SET_META_CONTEXT that a server may, or must, refuse. */
const FAILING_SETS: Readonly<Record<string, (name: string) => string>> = {
  'trailing bytes': name => contextsData(name, [BASE]) + '00',
  'unknown export': () => contextsData('no such export', [BASE]),
  'a query longer than a string may be': name => contextsData(name, [BASE, 'x-nobody:'.padEnd(5_000, 'a')]),
  'too many queries': name => contextsData(name, [BASE, ...Array<string>(2_000).fill('x-nobody:a')]),
  'too much data': name => contextsData(name, [BASE, ...Array<string>(8_000).fill('x-nobody:a')]),
};

/** No context holds: BLOCK_STATUS is refused, and the connection goes on. */
async function withoutStatus(session: Session): Promise<void> {
  assert.equal(await session.errno({ type: Cmd.status, length: 65_536 }), Errno.invalid);
  await session.inStep();
}

async function withContexts(look: Look): Promise<Session> {
  return look.session({ contexts: [BASE] });
}

export const CONTEXT_ROWS: readonly Row[] = [
  {
    title:
      'LIST/SET_META_CONTEXT: base:allocation, unknown ignored, ids unique, duplicate queries answered once, trailing bytes → ERR_INVALID, a failed SET clears, unknown export → ERR_UNKNOWN',
    rule: 'MUST',
    checks: {
      'list all, a namespace, a name': async look => {
        const { client, name } = await structuredClient(look);
        for (const queries of [[], ['base:'], [BASE]])
          assert.ok(
            contextsOf(await client.option(Option.listContexts, contextsData(name, queries))).some(context => context.name === BASE),
            `LIST of ${JSON.stringify(queries)}`,
          );
        assert.deepEqual(contextsOf(await client.option(Option.listContexts, contextsData(name, ['x-nobody:nothing']))), []);
      },
      'unknown ignored, duplicates once, ids unique': async look => {
        const { client, name } = await structuredClient(look);
        const queries = ['x-nobody:a', BASE, BASE, 'base:nothing', '', BASE];
        const contexts = contextsOf(await client.option(Option.setContexts, contextsData(name, queries)));
        assert.deepEqual(
          contexts.map(context => context.name),
          [BASE],
        );
        assert.equal(new Set(contexts.map(context => context.id)).size, contexts.length);
      },
      'LIST with duplicates: each once': async look => {
        const { client, name } = await structuredClient(look);
        const contexts = contextsOf(await client.option(Option.listContexts, contextsData(name, [BASE, 'base:', BASE])));
        assert.deepEqual(
          contexts.map(context => context.name),
          [BASE],
        );
      },
      'trailing bytes, lengths that do not add up': async look => {
        const { client, name } = await structuredClient(look);
        for (const option of [Option.listContexts, Option.setContexts]) {
          for (const data of [
            contextsData(name, [BASE]) + '00',
            nameData(name),
            nameData(name) + u32(2) + nameData(BASE),
            u32(99) + ascii(name),
          ])
            await refused(client, option, data, Rep.invalid);
        }
        await inStep(client, name);
      },
      ...Object.fromEntries(
        Object.entries(FAILING_SETS).map(([what, data]) => [
          `a failed SET clears: ${what}`,
          async (look: Look) => {
            const { client, name } = await structuredClient(look);
            contextsOf(await client.option(Option.setContexts, contextsData(name, [BASE])));
            const verdict = verdictOf(await client.option(Option.setContexts, data(name)));
            if (verdict === Rep.ack) throw new NotOffered('it does not fail');
            await withoutStatus(await openSession(client, name, {}));
          },
        ]),
      ),
      'a SET for another export is none for this one': async look => {
        const { client, name } = await structuredClient(look);
        const { otherName } = await look.endpoint();
        if (otherName === undefined) throw new NotOffered('one export alone');
        contextsOf(await client.option(Option.setContexts, contextsData(name, [BASE])));
        contextsOf(await client.option(Option.setContexts, contextsData(otherName, [BASE])));
        await withoutStatus(await openSession(client, name, {}));
      },
      'an empty SET clears': async look => {
        const { client, name } = await structuredClient(look);
        contextsOf(await client.option(Option.setContexts, contextsData(name, [BASE])));
        assert.deepEqual(contextsOf(await client.option(Option.setContexts, contextsData(name, []))), []);
        await withoutStatus(await openSession(client, name, {}));
      },
      'without structured replies → ERR_INVALID': async look => {
        await structuredClient(look);
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        await refused(client, Option.setContexts, contextsData(name, [BASE]), Rep.invalid);
        await inStep(client, name);
      },
      'unknown export': async look => {
        const { client, name } = await structuredClient(look);
        for (const option of [Option.listContexts, Option.setContexts])
          await refused(client, option, contextsData('no such export', [BASE]), Rep.unknown);
        await inStep(client, name);
      },
    },
  },
];

export const BLOCK_STATUS_ROWS: readonly Row[] = [
  {
    title: 'BLOCK_STATUS: REQ_ONE, at most one extent may pass the end of the request, bounded extent count',
    rule: 'MUST',
    checks: {
      'extents cover the start, one may pass the end': async look => {
        const session = await withContexts(look);
        for (const [offset, length] of [
          [0, session.sizeBytes],
          [4096, 65_536],
          [MIB + 512, 512],
        ] as const) {
          const { errno, status } = await session.perform({ type: Cmd.status, offset, length });
          assert.equal(errno, 0);
          assert.deepEqual([...status.keys()], [...session.contexts.values()], 'one chunk for each context');
          const [extents] = [...status.values()];
          const before = extents!.slice(0, -1).reduce((sum, [bytes]) => sum + bytes, 0);
          assert.ok(before < length, 'more than one extent passes the end');
          const total = extents!.reduce((sum, [bytes]) => sum + bytes, 0);
          assert.ok(offset + total <= session.sizeBytes, 'an extent passes the end of the export');
        }
      },
      REQ_ONE: async look => {
        const session = await withContexts(look);
        const { status } = await session.perform({ type: Cmd.status, offset: 512, length: 20 * MIB, flags: Flag.one });
        const [extents] = [...status.values()];
        assert.equal(extents!.length, 1);
        assert.ok(extents![0]![0] <= 20 * MIB);
      },
      'data is not said to be zeroes': async look => {
        const session = await withContexts(look);
        assert.equal(await session.errno({ type: Cmd.write, offset: 8 * MIB, payload: Buffer.alloc(65_536, 4) }), 0);
        const { status } = await session.perform({ type: Cmd.status, offset: 8 * MIB, length: 65_536 });
        const [extents] = [...status.values()];
        assert.equal(extents![0]![1] & ZERO, 0);
      },
      'what is many extents is told in parts, each true and of a bounded count': async look => {
        const session = await withContexts(look);
        const [from, count] = [16 * MIB, 4096];
        // Zeroes between: what was there before says nothing.
        assert.equal(await session.errno({ type: Cmd.write, offset: from, payload: Buffer.alloc(count * 8192) }), 0);
        if (session.has(Has.trim)) assert.equal(await session.errno({ type: Cmd.trim, offset: from, length: count * 8192 }), 0);
        for (let i = 0; i < count; i++) session.send({ type: Cmd.write, offset: from + i * 8192, payload: Buffer.alloc(4096, 7) });
        await session.answers(count);
        const end = from + count * 8192;
        for (let at = from; at < end;) {
          const { errno, status } = await session.perform({ type: Cmd.status, offset: at, length: end - at });
          assert.equal(errno, 0);
          const [extents] = [...status.values()];
          assert.ok(extents!.length <= 1 << 20, `${extents!.length} extents`);
          for (const [bytes, flags] of extents!) {
            const hasData = at % 8192 < 4096 || (at % 8192) + bytes > 8192;
            assert.ok((flags & ZERO) === 0 || !hasData || at >= end, `data at ${at} is said to be zeroes`);
            at += bytes;
          }
        }
      },
    },
  },
];
