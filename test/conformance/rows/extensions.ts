import assert from 'node:assert/strict';
import { encodeOption, RawClient } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Row } from '../row.js';
import {
  Cmd,
  contextsData,
  Errno,
  Flag,
  Has,
  infoData,
  MIB,
  Option,
  Rep,
  verdictOf,
} from '../../../src/nbd-server-ts/test/support/session.js';

/** A server learns a moment later that a client has left. */
async function eventually<T>(get: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await get();
    } catch (error) {
      if (attempt === 150) throw error;
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }
}

const DEPTH = 'qemu:allocation-depth';

export const EXTENSION_ROWS: readonly Row[] = [
  {
    title: 'RESIZE (experimental): the client learns a new size without reconnecting',
    rule: 'optional',
    checks: {
      'grow and shrink': async look => {
        const [session, other] = [await look.session({ kind: 'resizable' }), await look.session({ kind: 'resizable' })];
        session.need(Has.resize, 'RESIZE');
        const size = session.sizeBytes;
        const beyond = { type: Cmd.write, offset: size, payload: Buffer.alloc(4096, 3) };
        assert.equal(await session.errno(beyond), Errno.noSpace);
        assert.equal(await session.errno({ type: Cmd.resize, offset: size + MIB }), 0);
        assert.equal(await session.errno(beyond), 0);
        assert.equal(await other.errno({ type: Cmd.read, offset: size, length: 4096 }), 0, 'another connection');
        const client = await look.greeted('resizable');
        const info = await client.option(Option.info, infoData(session.exportName));
        assert.equal(parseInt(info.find(({ data }) => data.startsWith('0000'))!.data.slice(4, 20), 16), size + MIB, 'INFO');
        assert.equal(await session.errno({ type: Cmd.resize, offset: size }), 0);
        assert.equal(await session.errno(beyond), Errno.noSpace);
        await session.inStep();
      },
      'what it cannot be': async look => {
        const session = await look.session({ kind: 'resizable' });
        session.need(Has.resize, 'RESIZE');
        assert.equal(await session.errno({ type: Cmd.resize, offset: 2 ** 52 }), Errno.noSpace);
        assert.equal(await session.errno({ type: Cmd.resize, offset: session.sizeBytes, flags: 2 }), Errno.invalid);
        await session.inStep();
      },
    },
  },
  {
    title: 'bitmaps: `qemu:dirty-bitmap:<name>`, `qemu:allocation-depth`',
    rule: 'optional',
    checks: {
      'listed by namespace, by prefix, by name': async look => {
        const client = await look.greeted('contexts');
        const { exportName: name } = await look.endpoint('contexts');
        await client.option(Option.structured);
        const list = async (...queries: string[]): Promise<string[]> => {
          const answers = await client.option(Option.listContexts, contextsData(name, queries));
          assert.equal(verdictOf(answers), Rep.ack);
          return answers.slice(0, -1).map(({ data }) => Buffer.from(data.slice(8), 'hex').toString());
        };
        const all = await list();
        const ours = all.filter(context => context.startsWith('qemu:'));
        if (ours.length === 0) throw new NotOffered('no qemu: contexts');
        assert.deepEqual(await list('qemu:'), ours);
        const bitmaps = ours.filter(context => context.startsWith('qemu:dirty-bitmap:'));
        assert.deepEqual(await list('qemu:dirty-bitmap:'), bitmaps);
        for (const one of ours) assert.deepEqual(await list(one), [one]);
      },
      'one chunk for each context': async look => {
        const client = await look.greeted('contexts');
        const { exportName: name } = await look.endpoint('contexts');
        await client.option(Option.structured);
        const listed = await client.option(Option.listContexts, contextsData(name, ['qemu:']));
        const names = listed.slice(0, -1).map(({ data }) => Buffer.from(data.slice(8), 'hex').toString());
        if (names.length === 0) throw new NotOffered('no qemu: contexts');
        for (const extended of [false, true]) {
          const contexts = ['base:allocation', ...names];
          const session = await look.session({ kind: 'contexts', extended, contexts }).catch(error => {
            if (extended && error instanceof NotOffered) return null;
            throw error;
          });
          if (session === null) continue;
          assert.equal(new Set(session.contexts.values()).size, contexts.length, 'ids');
          const { errno, status } = await session.perform({ type: Cmd.status, length: MIB });
          assert.equal(errno, 0);
          assert.deepEqual([...status.keys()].sort(), [...session.contexts.values()].sort());
          if (session.contexts.has(DEPTH)) assert.ok(status.get(session.contexts.get(DEPTH)!)!.every(([, depth]) => depth < 100));
          await session.inStep();
        }
      },
      'a bitmap has what was written, and that alone': async look => {
        const client = await look.greeted('contexts');
        const { exportName: name } = await look.endpoint('contexts');
        await client.option(Option.structured);
        const listed = await client.option(Option.listContexts, contextsData(name, ['qemu:dirty-bitmap:']));
        if (listed.length < 2) throw new NotOffered('no bitmaps');
        const bitmap = Buffer.from(listed[0]!.data.slice(8), 'hex').toString();
        const session = await look.session({ kind: 'contexts', contexts: [bitmap] });
        const dirty = async (offset: number): Promise<number> => {
          const { status } = await session.perform({ type: Cmd.status, offset, length: 65_536, flags: Flag.one });
          return [...status.values()][0]![0]![1];
        };
        assert.deepEqual([await dirty(MIB), await dirty(3 * MIB)], [0, 0], 'before');
        assert.equal(await session.errno({ type: Cmd.write, offset: MIB, payload: Buffer.alloc(65_536, 5) }), 0);
        assert.deepEqual([await dirty(MIB), await dirty(3 * MIB)], [1, 0], 'after');
      },
      'of a context that was not selected nothing is said': async look => {
        const session = await look.session({ kind: 'contexts', contexts: [DEPTH] });
        const { status } = await session.perform({ type: Cmd.status, length: 65_536 });
        assert.deepEqual([...status.keys()], [session.contexts.get(DEPTH)]);
      },
    },
  },
  {
    title: 'bounds: handshake time-out, option count, connections, bytes queued over all connections, slow readers',
    rule: 'our own',
    checks: {
      'handshake time-out': async look => {
        const client = await look.greeted('impatient');
        await client.end();
      },
      'options without an end: the connection ends': async look => {
        const client = await look.greeted();
        const some = Buffer.concat(Array.from({ length: 100 }, () => encodeOption(0x7f00_0001)));
        for (let i = 0; i < 100 && !client.ended; i++) {
          client.send(some);
          for (let k = 0; k < 100 && !client.ended; k++) await client.answers().catch(() => undefined);
        }
        assert.ok(client.ended, '10,000 options are answered');
      },
      'more clients than there is room for: those inside are served, the next comes in when one leaves': async look => {
        const { maxConnections } = await look.endpoint('crowded');
        const inside = await Promise.all(Array.from({ length: maxConnections! }, () => look.session({ kind: 'crowded' })));
        const oneMore = look.session({ kind: 'crowded' });
        const late = await Promise.race([oneMore.catch(() => null), new Promise(resolve => setTimeout(() => resolve(null), 300))]);
        assert.equal(late, null, 'it is served');
        for (const session of inside) await session.inStep();
        inside[0]!.client.destroy();
        // It comes in where it waited; where it was refused, another one does.
        await (await oneMore.catch(() => eventually(() => look.session({ kind: 'crowded' })))).inStep();
      },
      '64 clients announce 32 MiB each: memory stays under 512 MiB': async look => {
        const { residentBytes } = look.peer;
        if (residentBytes === undefined) throw new NotOffered('its memory cannot be seen');
        const before = residentBytes.call(look.peer);
        const { target, exportName } = await look.endpoint();
        const piece = new Uint8Array(MIB);
        const clients = await Promise.all(
          Array.from({ length: 64 }, async () => {
            const client = look.adopt(await RawClient.connect(target));
            await client.begin();
            await client.option(Option.go, infoData(exportName));
            client.request({ type: Cmd.write, length: 32 * MIB });
            return client;
          }),
        );
        let most = 0;
        for (let i = 0; i < 31; i++) {
          for (const client of clients) client.send(piece);
          await new Promise(resolve => setTimeout(resolve, 20));
          most = Math.max(most, residentBytes.call(look.peer) - before);
        }
        assert.ok(most < 512 * MIB, `${Math.round(most / MIB)} MiB more`);
        await (await look.session()).inStep();
      },
      'a client that does not read holds up nobody': async look => {
        const slow = await look.session();
        slow.client.socket.pause();
        for (let i = 0; i < 64; i++) slow.send({ type: Cmd.read, length: MIB });
        await (await look.session()).inStep();
      },
    },
  },
];
