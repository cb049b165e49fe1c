import assert from 'node:assert/strict';
import type { EndpointKind } from '../peer.js';
import { NotOffered, type Look, type Row } from '../row.js';
import { Cmd, Errno, Flag, Has, MIB, type Session } from '../../../src/nbd-server-ts/test/support/session.js';
import { whileClosing } from './option-errors.js';

/** NBD_STATE_HOLE */
const HOLE = 1;

function pattern(bytes: number, seed: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  for (let i = 0; i < bytes; i++) buffer[i] = (i * 131 + seed * 17 + (i >> 8)) & 0xff;
  return buffer;
}

async function sameData(session: Session, offset: number, expected: Buffer): Promise<void> {
  const { errno, data } = await session.perform({ type: Cmd.read, offset, length: expected.length });
  assert.equal(errno, 0);
  assert.ok(data.equals(expected), `other data at ${offset}`);
}

async function alive(look: Look): Promise<void> {
  await (await look.session()).inStep();
}

/** Every command that the export takes, with a range that is good. */
function commands(session: Session): number[] {
  const list: number[] = [Cmd.read, Cmd.write];
  if (session.has(Has.flush)) list.push(Cmd.flush);
  if (session.has(Has.trim)) list.push(Cmd.trim);
  if (session.has(Has.zero)) list.push(Cmd.zero);
  if (session.has(Has.cache)) list.push(Cmd.cache);
  if (session.contexts.size > 0) list.push(Cmd.status);
  return list;
}

async function bestSession(look: Look, kind: EndpointKind = 'plain'): Promise<Session> {
  return look.session({ kind, contexts: ['base:allocation'] }).catch(error => {
    if (error instanceof NotOffered) return look.session({ kind });
    throw error;
  });
}

export const TRANSMISSION_ROWS: readonly Row[] = [
  {
    title: 'READ, WRITE, DISC',
    rule: 'MUST',
    checks: {
      'what was written is read': async look => {
        const session = await look.session();
        const data = pattern(100_001, 1);
        assert.equal(await session.errno({ type: Cmd.write, offset: 12_345, payload: data }), 0);
        await sameData(session, 12_345, data);
        session.client.request({ type: Cmd.disc });
        assert.equal((await session.client.end()).length, 0);
        await sameData(await look.session(), 12_345, data);
      },
    },
  },
  {
    title: 'FLUSH; FUA accepted on every command',
    rule: 'MUST if advertised',
    checks: {
      flush: async look => {
        const session = await look.session();
        session.need(Has.flush, 'FLUSH');
        assert.equal(await session.errno({ type: Cmd.flush }), 0);
      },
      fua: async look => {
        const session = await bestSession(look);
        session.need(Has.fua, 'FUA');
        for (const type of commands(session)) {
          const request = type === Cmd.write ? { payload: pattern(4096, 2) } : type === Cmd.flush ? {} : { length: 4096 };
          assert.equal(await session.errno({ type, flags: Flag.fua, ...request }), 0, `FUA on command ${type}`);
        }
      },
    },
  },
  {
    title: 'TRIM; WRITE_ZEROES with NO_HOLE; FAST_ZERO done or ENOTSUP, never a crash',
    rule: 'MUST if advertised',
    checks: {
      trim: async look => {
        const session = await look.session();
        session.need(Has.trim, 'TRIM');
        assert.equal(await session.errno({ type: Cmd.trim, offset: MIB, length: MIB }), 0);
      },
      'zeroes, also NO_HOLE': async look => {
        const session = await look.session();
        session.need(Has.zero, 'WRITE_ZEROES');
        for (const flags of [0, Flag.noHole]) {
          assert.equal(await session.errno({ type: Cmd.write, offset: 2 * MIB, payload: pattern(65_536, 3) }), 0);
          assert.equal(await session.errno({ type: Cmd.zero, offset: 2 * MIB + 513, length: 40_000, flags }), 0);
          const { data } = await session.perform({ type: Cmd.read, offset: 2 * MIB, length: 65_536 });
          const expected = pattern(65_536, 3).fill(0, 513, 40_513);
          assert.ok(data.equals(expected), 'zeroes where they belong, and nowhere else');
        }
      },
      'NO_HOLE: the range has its place': async look => {
        const session = await look.session({ contexts: ['base:allocation'] });
        session.need(Has.zero, 'WRITE_ZEROES');
        if (session.has(Has.trim)) assert.equal(await session.errno({ type: Cmd.trim, offset: 12 * MIB, length: MIB }), 0);
        assert.equal(await session.errno({ type: Cmd.zero, offset: 12 * MIB + 512, length: 100_000, flags: Flag.noHole }), 0);
        const { status } = await session.perform({ type: Cmd.status, offset: 12 * MIB + 512, length: 100_000 });
        let at = 0;
        for (const [bytes, flags] of [...status.values()][0]!) {
          assert.ok(at >= 100_000 || (flags & HOLE) === 0, `a hole ${at} bytes behind its start`);
          at += bytes;
        }
      },
      'fast zero': async look => {
        const session = await look.session();
        session.need(Has.fastZero, 'FAST_ZERO');
        for (const [flags, offset, length] of [
          [Flag.fast, 0, 4 * MIB],
          [Flag.fast | Flag.noHole, MIB, MIB],
          [Flag.fast | Flag.fua, 3, 4097],
        ] as const) {
          const errno = await session.errno({ type: Cmd.zero, offset, length, flags });
          assert.ok(errno === 0 || errno === Errno.notSupported, `errno ${errno}`);
        }
        await alive(look);
      },
    },
  },
  {
    title: 'CACHE',
    rule: 'SHOULD',
    checks: {
      cache: async look => {
        const session = await look.session();
        session.need(Has.cache, 'CACHE');
        assert.equal(await session.errno({ type: Cmd.cache, length: session.sizeBytes }), 0);
        assert.equal(await session.errno({ type: Cmd.cache, offset: 4096, length: 4096 }), 0);
      },
    },
  },
  {
    title: 'read/trim/cache/status beyond the end → EINVAL; write/zeroes beyond the end → ENOSPC',
    rule: 'SHOULD',
    checks: {
      'beyond, and across': async look => {
        const session = await bestSession(look);
        for (const [offset, length] of [
          [session.sizeBytes, 512],
          [session.sizeBytes - 512, 1024],
          [2 ** 52, 512],
          [0xffff_ffff_ffff_fe00n, 4096],
        ] as const) {
          for (const type of commands(session)) {
            if (type === Cmd.flush) continue;
            const writes = type === Cmd.write || type === Cmd.zero;
            const request = type === Cmd.write ? { payload: Buffer.alloc(length) } : { length };
            assert.equal(
              await session.errno({ type, offset, ...request }),
              writes ? Errno.noSpace : Errno.invalid,
              `command ${type} at ${offset}`,
            );
          }
        }
        await session.inStep();
      },
    },
  },
  {
    title: 'read-only export: write/trim/zero → EPERM',
    rule: 'SHOULD',
    checks: {
      writing: async look => {
        const session = await look.session({ kind: 'readOnly' });
        assert.equal(await session.errno({ type: Cmd.write, payload: Buffer.alloc(200_000) }), Errno.perm, 'WRITE');
        assert.equal(await session.errno({ type: Cmd.trim, length: 4096 }), Errno.perm, 'TRIM');
        assert.equal(await session.errno({ type: Cmd.zero, length: 4096 }), Errno.perm, 'WRITE_ZEROES');
        await session.inStep();
      },
    },
  },
  {
    title: 'unknown command or flag → EINVAL, payload drained, in step',
    rule: 'SHOULD',
    checks: {
      command: async look => {
        const session = await look.session();
        assert.equal(await session.errno({ type: 0x3333, length: 4096 }), Errno.invalid);
        assert.equal(await session.errno({ type: 9, offset: 5, length: 0xffff_ffff }), Errno.invalid);
        await session.inStep();
      },
      flags: async look => {
        const session = await bestSession(look);
        for (const type of commands(session)) {
          const request = type === Cmd.write ? { payload: Buffer.alloc(100_000) } : type === Cmd.flush ? {} : { length: 4096 };
          assert.equal(await session.errno({ type, flags: 0x2000, ...request }), Errno.invalid, `command ${type}`);
        }
        await session.inStep();
      },
      'RESIZE where it is not offered': async look => {
        const session = await look.session();
        if (session.has(Has.resize)) throw new NotOffered('it can be resized');
        assert.equal(await session.errno({ type: Cmd.resize, offset: session.sizeBytes }), Errno.invalid);
        await session.inStep();
      },
      'flags of other commands': async look => {
        const session = await look.session();
        assert.equal(
          await session.errno({ type: Cmd.write, flags: Flag.noHole, payload: Buffer.alloc(512) }),
          Errno.invalid,
          'NO_HOLE on WRITE',
        );
        assert.equal(await session.errno({ type: Cmd.read, flags: Flag.df, length: 512 }), Errno.invalid, 'DF without structured replies');
        assert.equal(await session.errno({ type: Cmd.read, flags: Flag.one, length: 512 }), Errno.invalid, 'REQ_ONE on READ');
        await session.inStep();
      },
    },
  },
  {
    title: 'EOVERFLOW only for a DF read or an oversize command without payload; ENOTSUP only with FAST_ZERO; ESHUTDOWN on shutdown',
    rule: 'SHOULD',
    checks: {
      'an oversize WRITE has another error': async look => {
        const session = await look.session();
        const answer = await session.perform({ type: Cmd.write, payload: Buffer.alloc(33 * MIB) }).catch(() => null);
        if (answer !== null) assert.notEqual(answer.errno, Errno.overflow);
      },
      'an oversize READ': async look => {
        const session = await look.session({ structured: true });
        const answer = await session.perform({ type: Cmd.read, length: 60 * MIB }).catch(() => null);
        assert.ok(answer !== null, 'it closes instead of an error');
        assert.ok([0, Errno.overflow, Errno.invalid].includes(answer.errno), `errno ${answer.errno}`);
      },
      'a DF READ beyond what fits in one chunk': async look => {
        const session = await look.session({ structured: true });
        session.need(Has.df, 'DF');
        const { errno, types } = await session.perform({ type: Cmd.read, length: 32 * MIB, flags: Flag.df });
        assert.ok(
          errno === Errno.overflow || (errno === 0 && types.filter(type => type === 1 || type === 2).length === 1),
          `errno ${errno}`,
        );
        await session.inStep();
      },
      'ESHUTDOWN on shutdown': look =>
        whileClosing(look, async ({ session }) => {
          session.send({ type: Cmd.read, length: 512 });
          assert.equal((await session.answers(1))[0]!.errno, Errno.shutdown);
        }),
      'ENOTSUP without FAST_ZERO': async look => {
        const session = await look.session();
        session.need(Has.zero, 'WRITE_ZEROES');
        assert.equal(await session.errno({ type: Cmd.zero, length: MIB, flags: Flag.noHole }), 0);
      },
    },
  },
  {
    title: 'payload up to 32 MiB served; above: error without buffering it, or close',
    rule: 'SHOULD',
    checks: {
      '32 MiB': async look => {
        for (const structured of [false, true]) {
          const session = await look.session({ structured });
          const data = pattern(32 * MIB, 5);
          assert.equal(await session.errno({ type: Cmd.write, offset: 4 * MIB, payload: data }), 0);
          await sameData(session, 4 * MIB, data);
        }
      },
      above: async look => {
        const session = await look.session();
        const errno = await session.errno({ type: Cmd.write, payload: Buffer.alloc(33 * MIB) }).catch(() => -1);
        if (errno >= 0) await session.inStep();
        const huge = await look.session();
        huge.client.request({ type: Cmd.write, length: 0xffff_f000 });
        huge.client.send(new Uint8Array(MIB));
        await alive(look);
      },
      'above: not buffered': async look => {
        const { peer } = look;
        if (peer.residentBytes === undefined) throw new NotOffered('its memory cannot be seen');
        const session = await look.session();
        const before = peer.residentBytes();
        session.client.request({ type: Cmd.write, length: 0xffff_f000 });
        const piece = new Uint8Array(MIB);
        let most = 0;
        for (let i = 0; i < 256 && !session.client.ended; i++) {
          session.client.send(piece);
          await new Promise(resolve => setTimeout(resolve, 2));
          most = Math.max(most, peer.residentBytes() - before);
        }
        assert.ok(most < 128 * MIB, `${Math.round(most / MIB)} MiB more`);
        await alive(look);
      },
    },
  },
  {
    title: 'zero length, misaligned to the minimum block: no disconnect, EINVAL',
    rule: 'MUST',
    checks: {
      'zero length': async look => {
        const session = await bestSession(look);
        for (const type of commands(session)) {
          if (type === Cmd.flush) continue;
          // The specification leaves the answer open.
          await session.errno({ type, length: 0, ...(type === Cmd.write ? { payload: Buffer.alloc(0) } : {}) });
        }
        await session.inStep();
      },
      misaligned: async look => {
        const session = await bestSession(look, 'minimumBlock');
        for (const [offset, length] of [
          [1, 4096],
          [0, 4095],
          [512, 512],
        ] as const) {
          for (const type of commands(session)) {
            if (type === Cmd.flush) continue;
            const request = type === Cmd.write ? { payload: Buffer.alloc(length) } : { length };
            assert.equal(await session.errno({ type, offset, ...request }), Errno.invalid, `command ${type} at ${offset}, ${length} bytes`);
          }
        }
        assert.equal(await session.errno({ type: Cmd.read, length: 65_536 }), 0);
      },
    },
  },
  {
    title: 'cookie opaque; out-of-order replies',
    rule: 'MUST',
    checks: {
      'any cookie comes back, each once': async look => {
        for (const structured of [false, true]) {
          const session = await look.session({ structured });
          const cookies = Array.from({ length: 300 }, (_, i) => BigInt.asUintN(64, BigInt(i) * 0x9e37_79b9_7f4a_7c15n));
          for (const cookie of cookies)
            session.send({ type: Cmd.read, offset: Number(cookie % 1000n) * 512, length: cookie % 3n === 0n ? 512 : 65_536, cookie });
          const answers = await session.answers(cookies.length);
          assert.deepEqual(answers.map(answer => answer.cookie).sort(), [...cookies].sort());
          assert.ok(answers.every(answer => answer.errno === 0));
        }
      },
    },
  },
  {
    title: 'bad request magic closes',
    rule: 'MAY',
    checks: {
      magic: async look => {
        const session = await look.session();
        session.client.request({ type: Cmd.read, length: 512, magic: 0x25609514 });
        assert.equal((await session.client.end()).length, 0, 'an answer');
        await alive(look);
      },
    },
  },
  {
    title: 'DISC: outstanding requests finish and are answered, no reply to it, then close, at once',
    rule: 'MUST',
    checks: {
      'behind many requests': async look => {
        const session = await look.session();
        for (let i = 0; i < 64; i++) session.send({ type: Cmd.write, offset: i * 65_536, payload: pattern(65_536, i) });
        session.client.request({ type: Cmd.disc, cookie: 99n });
        const answers = await session.answers(64);
        assert.ok(answers.every(answer => answer.errno === 0));
        assert.equal((await session.client.end()).length, 0, 'something after the last answer');
        const after = await look.session();
        for (let i = 0; i < 64; i += 9) await sameData(after, i * 65_536, pattern(65_536, i));
      },
      'whatever its fields': async look => {
        const session = await look.session();
        session.client.request({ type: Cmd.disc, offset: 77, length: 0, cookie: 1n });
        assert.equal((await session.client.end()).length, 0);
      },
    },
  },
  {
    title: 'CAN_MULTI_CONN: FLUSH/FUA of one connection covers writes completed on every other',
    rule: 'MUST if advertised',
    checks: {
      'written with FUA on one, read on another': async look => {
        const [one, two] = [await look.session(), await look.session()];
        one.need(Has.multiConn, 'CAN_MULTI_CONN');
        one.need(Has.fua, 'FUA');
        for (let round = 0; round < 20; round++) {
          const data = pattern(8192, round + 80);
          assert.equal(await one.errno({ type: Cmd.write, offset: 10 * MIB + round * 4096, payload: data, flags: Flag.fua }), 0);
          await sameData(two, 10 * MIB + round * 4096, data);
        }
      },
      'written on one, flushed on another, read on a third': async look => {
        const [one, two, three] = [await look.session(), await look.session(), await look.session()];
        one.need(Has.multiConn, 'CAN_MULTI_CONN');
        for (let round = 0; round < 20; round++) {
          const data = pattern(8192, round + 40);
          assert.equal(await one.errno({ type: Cmd.write, offset: 9 * MIB + round * 4096, payload: data }), 0);
          assert.equal(await two.errno({ type: Cmd.flush }), 0);
          await sameData(three, 9 * MIB + round * 4096, data);
        }
      },
    },
  },
];
