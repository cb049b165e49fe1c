import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { SocketAddress } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { codeOf, play } from './stage.js';
import type { MakeWorld } from './world.js';

/** Where listeners and connections may be, and where not. */
export function addressesContract(make: MakeWorld): void {
  describe('addresses', () => {
    it('are told with the port that the kernel chose', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const path = `${stage.world.directory}/s`;
        expect(engine.localAddress(engine.listen({ family: 'unix', path }))).toEqual({ family: 'unix', path });
        for (const host of ['127.0.0.1', '::1']) {
          const bound = engine.localAddress(engine.listen({ family: 'tcp', host, port: 0 }));
          expect(bound).toEqual({ family: 'tcp', host, port: expect.any(Number) });
          expect((bound as { port: number }).port).toBeGreaterThan(0);
          const other = engine.localAddress(engine.listen({ family: 'tcp', host, port: 0 }));
          expect(other).not.toEqual(bound);
        }
        yield stage.delay(0);
      });
    });

    it('in use are refused, and left alone', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const path = `${stage.world.directory}/s`;
        const addresses: SocketAddress[] = [
          { family: 'unix', path },
          engine.localAddress(engine.listen({ family: 'tcp', host: '127.0.0.1', port: 0 })),
        ];
        const listener = engine.listen({ family: 'unix', path });
        for (const address of addresses) expect(codeOf(() => engine.listen(address))).toBe('ERR_ADDRESS_IN_USE');
        const accepted = stage.accept(listener);
        expect(yield stage.connect({ family: 'unix', path })).toBeGreaterThanOrEqual(0);
        expect(yield accepted).toBeGreaterThanOrEqual(0);
      });
    });

    it('of a socket file that nobody listens on are taken over', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        const path = `${stage.world.directory}/s`;
        const first = engine.listen({ family: 'unix', path });
        fs.renameSync(path, `${path}.kept`);
        expect(yield stage.close(first)).toBe(0);
        fs.renameSync(`${path}.kept`, path);
        expect(yield stage.connect({ family: 'unix', path })).toBe(-errno.ECONNREFUSED);
        const listener = engine.listen({ family: 'unix', path });
        const accepted = stage.accept(listener);
        expect(yield stage.connect({ family: 'unix', path })).toBeGreaterThanOrEqual(0);
        expect(yield accepted).toBeGreaterThanOrEqual(0);
      });
    });

    it('of a file that is no socket are refused, and the file is kept', async () => {
      await play(make, function* (stage) {
        const path = `${stage.world.directory}/s`;
        fs.writeFileSync(path, 'precious');
        expect(codeOf(() => stage.engine.listen({ family: 'unix', path }))).toBe('ERR_ADDRESS_IN_USE');
        expect(fs.readFileSync(path, 'utf8')).toBe('precious');
        yield stage.delay(0);
      });
    });

    it('of Unix end at 107 bytes', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        // Bytes, not characters.
        const filler = (bytes: number): string =>
          `${stage.world.directory}/é${'x'.repeat(bytes - 3 - Buffer.byteLength(stage.world.directory))}`;
        const longest: SocketAddress = { family: 'unix', path: filler(107) };
        const tooLong: SocketAddress = { family: 'unix', path: filler(108) };
        expect(codeOf(() => engine.listen(tooLong))).toBe('ERR_PATH_TOO_LONG');
        expect(yield stage.connect(tooLong)).toBe(-errno.ENAMETOOLONG);
        const accepted = stage.accept(engine.listen(longest));
        expect(yield stage.connect(longest)).toBeGreaterThanOrEqual(0);
        expect(yield accepted).toBeGreaterThanOrEqual(0);
        for (const path of ['', '\0abstract', 'a\0b']) expect(codeOf(() => engine.listen({ family: 'unix', path }))).toBe('ERR_ARGUMENT');
      });
    });

    it('of Unix have the mode that is asked for, whatever the umask', async () => {
      const umask = process.umask(0o077);
      try {
        await play(make, function* (stage) {
          const mode = (name: string): number => fs.statSync(`${stage.world.directory}/${name}`).mode & 0o777;
          stage.engine.listen({ family: 'unix', path: `${stage.world.directory}/a` });
          stage.engine.listen({ family: 'unix', path: `${stage.world.directory}/b` }, { mode: 0o666, backlog: 5 });
          expect([mode('a'), mode('b')]).toEqual([0o600, 0o666]);
          yield stage.delay(0);
        });
      } finally {
        process.umask(umask);
      }
    });

    it('that are none, or lead nowhere, are refused with the errno', async () => {
      await play(make, function* (stage) {
        const { engine } = stage;
        expect(codeOf(() => engine.listen({ family: 'tcp', host: 'localhost', port: 0 }))).toBe('EINVAL');
        expect(codeOf(() => engine.listen({ family: 'tcp', host: '192.0.2.1', port: 0 }))).toBe('EADDRNOTAVAIL');
        expect(codeOf(() => engine.listen({ family: 'unix', path: `${stage.world.directory}/none/s` }))).toBe('ENOENT');
        const free = engine.listen({ family: 'tcp', host: '127.0.0.1', port: 0 });
        const address = engine.localAddress(free);
        expect(yield stage.close(free)).toBe(0);
        const results = yield* stage.all([
          stage.connect(address),
          stage.connect({ family: 'tcp', host: 'localhost', port: 80 }),
          stage.connect({ family: 'unix', path: `${stage.world.directory}/none` }),
        ]);
        expect(results).toEqual([-errno.ECONNREFUSED, -errno.EINVAL, -errno.ENOENT]);
        expect(engine.outstanding).toBe(0);
      });
    });
  });
}
