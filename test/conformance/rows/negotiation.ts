import assert from 'node:assert/strict';
import { ascii, u32, unhex } from '../../../src/nbd-server-ts/test/support/hex.js';
import { encodeOption, PAYLOAD_FLAG } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Look, type Row } from '../row.js';
import {
  Cmd,
  Errno,
  Flag,
  Has,
  infoData,
  MIB,
  openSession,
  Option,
  refusal,
  Rep,
  verdictOf,
  type Session,
} from '../../../src/nbd-server-ts/test/support/session.js';
import { inStep, refused } from './steps.js';

const BASE = 'base:allocation';

async function extendedSession(look: Look, contexts?: readonly string[]): Promise<Session> {
  return look.session(contexts === undefined ? { extended: true } : { extended: true, contexts });
}

export const NEGOTIATION_ROWS: readonly Row[] = [
  {
    title: 'STRUCTURED_REPLY; after it a READ never gets a simple reply, errors included',
    rule: 'MUST',
    checks: {
      'data and errors': async look => {
        const session = await look.session({ structured: true });
        const good = await session.perform({ type: Cmd.read, length: 5 * MIB });
        assert.equal(good.errno, 0);
        assert.ok(good.kinds.every(kind => kind === 'chunk'));
        for (const bad of [{ offset: session.sizeBytes }, { flags: 0x4000 }, { length: 0 }]) {
          const answer = await session.perform({ type: Cmd.read, length: 512, ...bad });
          assert.ok(
            answer.kinds.every(kind => kind === 'chunk'),
            'a READ is answered with a simple reply',
          );
        }
      },
      'with data → ERR_INVALID': async look => {
        await look.session({ structured: true });
        const client = await look.greeted();
        await refused(client, Option.structured, '00', Rep.invalid);
        await inStep(client, (await look.endpoint()).exportName);
      },
      'a second one leaves it as it is': async look => {
        await look.session({ structured: true });
        const client = await look.greeted();
        assert.equal(verdictOf(await client.option(Option.structured)), Rep.ack);
        const verdict = verdictOf(await client.option(Option.structured));
        assert.ok(verdict === Rep.ack || verdict === Rep.invalid, refusal(verdict));
        const session = await openSession(client, (await look.endpoint()).exportName, {});
        assert.deepEqual((await session.perform({ type: Cmd.read, length: 512 })).kinds[0], 'chunk');
      },
      'DF: one chunk': async look => {
        const session = await look.session({ structured: true });
        session.need(Has.df, 'DF');
        const answer = await session.perform({ type: Cmd.read, length: 65_536, flags: Flag.df });
        assert.equal(answer.errno, 0);
        assert.equal(answer.types.filter(type => type === 1 || type === 2).length, 1);
      },
    },
  },
  {
    title: 'EXTENDED_HEADERS (64-bit lengths, BLOCK_STATUS_PAYLOAD)',
    rule: 'experimental',
    checks: {
      'every answer has the extended header, with the offset asked for': async look => {
        const session = await extendedSession(look, [BASE]);
        const at = 3 * MIB;
        const payload = Buffer.alloc(65_536, 0x5a);
        for (const request of [
          { type: Cmd.write, offset: at, payload },
          { type: Cmd.flush },
          { type: Cmd.read, offset: at, length: 65_536 },
          { type: Cmd.read, offset: 0, length: 5 * MIB },
          { type: Cmd.status, offset: at, length: 65_536 },
          { type: Cmd.read, offset: session.sizeBytes, length: 512 },
          { type: 0x77, offset: 5, length: 512 },
        ]) {
          const answer = await session.perform(request);
          assert.ok(answer.kinds.every(kind => kind === 'chunk'));
          assert.ok(
            answer.offsets.every(offset => offset === BigInt(request.offset ?? 0)),
            `offsets ${answer.offsets.join()} of command ${request.type}`,
          );
          if (request.type === Cmd.read && request.offset === at) assert.deepEqual(answer.data, payload);
        }
      },
      'WRITE without the payload flag, a payload where none belongs: EINVAL, in step': async look => {
        const session = await extendedSession(look);
        assert.equal(await session.errno({ type: Cmd.write, length: 4096, flags: 0 }), Errno.invalid);
        assert.equal(await session.errno({ type: Cmd.read, length: 4096, payload: Buffer.alloc(4096) }), Errno.invalid);
        assert.equal(await session.errno({ type: Cmd.trim, length: 300_000, payload: Buffer.alloc(300_000) }), Errno.invalid);
        await session.inStep();
      },
      '64-bit lengths are not cut off': async look => {
        const session = await extendedSession(look);
        const beyond = 0x1_0000_0000n + 4096n;
        if (session.has(Has.zero)) assert.equal(await session.errno({ type: Cmd.zero, length: beyond }), Errno.noSpace);
        if (session.has(Has.trim)) assert.equal(await session.errno({ type: Cmd.trim, length: beyond }), Errno.invalid);
        const read = await session.errno({ type: Cmd.read, length: beyond });
        assert.ok(read === Errno.invalid || read === Errno.overflow, `errno ${read} of a READ`);
        await session.inStep();
      },
      'BLOCK_STATUS with a payload: a choice of contexts': async look => {
        const session = await extendedSession(look, [BASE]);
        session.need(Has.statusPayload, 'BLOCK_STATUS_PAYLOAD');
        const id = session.contexts.get(BASE)!;
        const payload = (lengthBytes: number, ...ids: number[]): Uint8Array => unhex('00000000' + u32(lengthBytes) + ids.map(u32).join(''));
        const answer = await session.perform({ type: Cmd.status, payload: payload(65_536, id) });
        assert.deepEqual([...answer.status.keys()], [id]);
        for (const bad of [
          payload(65_536, id, id),
          payload(65_536, 0x7777),
          payload(session.sizeBytes + 512, id),
          payload(0),
          unhex('00'.repeat(7)),
          payload(65_536, ...Array<number>(5000).fill(id)),
        ])
          assert.equal(await session.errno({ type: Cmd.status, payload: bad }), Errno.invalid);
        await session.inStep();
      },
      'STRUCTURED_REPLY behind it → ERR_EXT_HEADER_REQD; EXPORT_NAME closes': async look => {
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        if (verdictOf(await client.option(Option.extended)) !== Rep.ack) throw new NotOffered('no extended headers');
        const structured = verdictOf(await client.option(Option.structured));
        assert.ok(structured === Rep.extendedRequired || structured === Rep.invalid, refusal(structured));
        client.send(encodeOption(Option.exportName, ascii(name)));
        assert.equal((await client.end()).length, 0);
      },
      'with data → ERR_INVALID': async look => {
        const client = await look.greeted();
        const verdict = verdictOf(await client.option(Option.extended, '00'));
        if (verdict === Rep.unsupported) throw new NotOffered('no extended headers');
        assert.equal(refusal(verdict), refusal(Rep.invalid));
        const compact = await openSession(client, (await look.endpoint()).exportName, {});
        await compact.inStep();
      },
      'a payload above every bound closes': async look => {
        const session = await extendedSession(look);
        session.client.request({ type: Cmd.write, length: 0x1_0000_0000n, flags: PAYLOAD_FLAG });
        await session.client.end();
      },
    },
  },
  {
    title: 'flags: HAS_FLAGS; SEND_FAST_ZERO only with WRITE_ZEROES; SEND_DF only with structured replies',
    rule: 'MUST',
    checks: {
      compact: async look => {
        const session = await look.session();
        assert.ok(session.has(Has.flags), 'HAS_FLAGS');
        assert.ok(!session.has(Has.df), 'DF without structured replies');
        assert.ok(!session.has(Has.statusPayload), 'BLOCK_STATUS_PAYLOAD without extended headers');
        assert.ok(!session.has(Has.fastZero) || session.has(Has.zero), 'FAST_ZERO without WRITE_ZEROES');
      },
      structured: async look => {
        const session = await look.session({ structured: true });
        assert.ok(session.has(Has.flags));
        assert.ok(!session.has(Has.fastZero) || session.has(Has.zero));
        assert.ok(session.has(Has.df), 'DF is refused though replies are structured');
      },
      'read-only': async look => {
        const session = await look.session({ kind: 'readOnly' });
        assert.ok(session.has(Has.readOnly));
        assert.ok(!session.has(Has.trim) && !session.has(Has.zero) && !session.has(Has.fastZero), 'writing commands of a read-only export');
      },
      'the same in INFO before and after': async look => {
        const client = await look.greeted();
        const { exportName: name } = await look.endpoint();
        const flags = async (): Promise<number> => {
          const answers = await client.option(Option.info, infoData(name));
          return parseInt(answers.find(({ data }) => data.startsWith('0000'))!.data.slice(20, 24), 16);
        };
        assert.equal((await flags()) & Has.df, 0);
        if (verdictOf(await client.option(Option.structured)) !== Rep.ack) throw new NotOffered('no structured replies');
        assert.equal((await flags()) & Has.df, Has.df);
      },
    },
  },
];
