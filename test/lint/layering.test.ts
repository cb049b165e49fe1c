import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { layering, roomOf } from '../../lint/layering.js';
import { ROOMS } from '../../lint/rooms.js';
import { verify } from './verify.js';

const check = (path: string, text: string): string[] => verify(layering, path, text);

describe('layering: what a room may not import', () => {
  test('the message names the room, the file and what is allowed', () => {
    expect(check('src/transport/x.ts', `import { a } from '../stargate/core/controller.js';\na();`)).toEqual([
      '1: transport may not import stargate/core (src/stargate/core/controller.ts); it may import base, wire, shard, uring-engine (lint/rooms.js)',
    ]);
  });

  test.each([
    ['a static import', `import { a } from '../meta/model.js';`],
    ['a whole module', `import * as a from '../meta/model.js';`],
    ['an import for its effects', `import '../meta/model.js';`],
    ['a type', `import type { A } from '../meta/model.js';`],
    ['a type in the text', `export let a: import('../meta/model.js').A;`],
    ['an export from there', `export { a } from '../meta/model.js';`],
    ['an export of all', `export * from '../meta/model.js';`],
    ['a dynamic import', `await import('../meta/model.js');`],
  ])('%s', (_name, text) => {
    expect(check('src/wire/x.ts', text)).toEqual([expect.stringContaining('1: wire may not import meta (src/meta/model.ts)')]);
  });

  test.each([
    ['src/base/x.ts', '../wire/frame.js'],
    ['src/base/x.ts', 'uring-engine'],
    ['src/base/x.ts', 'pino'],
    ['native/src/x.ts', 'nbd-server-ts'],
    ['src/nbd-server-ts/src/x.ts', '../../base/errors.js'],
    ['src/meta/x.ts', 'uring-engine'],
    ['src/shard/x.ts', '../transport/limits.js'],
    ['src/stargate/core/x.ts', '../oplog/index.js'],
    ['src/stargate/core/x.ts', '../../meta/lmdb.js'],
    ['src/stargate/core/x.ts', '../../shard/context.js'],
    ['src/stargate/oplog/x.ts', '../store/index.js'],
    ['src/stargate/store/x.ts', '../extents/index.js'],
    ['src/stargate/cache/x.ts', '../runtime/limits.js'],
    ['src/stargate/runtime/x.ts', '../service.js'],
    ['src/stargate/runtime/x.ts', '../../datapath/session.js'],
    ['src/stargate/data-directory.ts', './runtime/vdisks.js'],
    ['src/datapath/x.ts', '../stargate/service.js'],
    ['src/control/x.ts', '../stargate/messages.js'],
    ['src/cli/x.ts', '../control/server.js'],
    ['src/cli/x.ts', '../meta/model.js'],
    ['src/wire/x.ts', 'uring-engine/faulty'],
    ['src/stargate/oplog/x.ts', 'uring-engine/faulty'],
  ])('%s may not import %s', (path, specifier) => {
    expect(check(path, `import { a } from '${specifier}';`)).toEqual([expect.stringMatching(/may not (import|use)/)]);
  });

  test('only part of a room: its types, one export', () => {
    expect(check('src/wire/x.ts', `import { Gather } from 'uring-engine';`)).toHaveLength(1);
    expect(check('src/stargate/core/x.ts', `import { Gather, createEngine, type Arena } from 'uring-engine';`)).toHaveLength(1);
    expect(check('src/stargate/core/x.ts', `import * as engine from 'uring-engine';`)).toHaveLength(1);
    expect(check('src/stargate/messages.ts', `import { a } from './runtime/vdisks.js';`)).toHaveLength(1);
  });

  test('a package of this tree by its path', () => {
    expect(check('src/shard/x.ts', `import { a } from '../../native/src/index.js';`)).toEqual([
      '1: import the package uring-engine by its name',
    ]);
  });

  test('a computed path, in which anything could hide', () => {
    expect(check('src/base/x.ts', 'export const a = (b: string) => import(b);')).toEqual([expect.stringContaining('cannot see')]);
  });

  test('a room that is not in the table', () => {
    expect(check('src/attic/x.ts', 'export {};')).toEqual([expect.stringContaining('src/attic/x.ts is in no room')]);
    expect(check('src/stargate/attic/x.ts', 'export {};')).toEqual([expect.stringContaining('is in no room')]);
    expect(check('src/base/x.ts', `import '../attic/y.js';`)).toEqual([expect.stringContaining('src/attic/y.ts is in no room')]);
  });
});

describe('layering: what a room may import', () => {
  test.each([
    ['src/base/x.ts', `import assert from 'node:assert/strict';`],
    ['src/base/x.ts', `import { a } from './y.js';`],
    ['src/wire/x.ts', `import type { Gather } from 'uring-engine';`],
    ['src/wire/x.ts', `import { type Gather } from 'uring-engine';`],
    ['src/wire/x.ts', `export type { Gather } from 'uring-engine';`],
    ['src/wire/x.ts', `export let a: import('uring-engine').Gather;`],
    ['src/stargate/core/x.ts', `import { Gather, type Arena } from 'uring-engine';`],
    ['src/stargate/core/x.ts', `import { a } from '../../meta/model.js';`],
    ['src/stargate/core/x.ts', `import { crc32c } from '@node-rs/crc32';`],
    ['src/stargate/extents/x.ts', `import { a } from '../store/index.js';`],
    ['src/stargate/messages.ts', `import type { A } from './runtime/vdisks.js';`],
    ['src/stargate/service.ts', `import { a } from './oplog/index.js';`],
    ['src/nbd-server-ts/example/x.ts', `import { a } from 'nbd-server-ts';`],
    ['src/nbd-server-ts/test/x.ts', `import { a } from '../../../test/support/process.js';`],
    ['src/cli/x.ts', `import { a } from '../control/client.js';`],
    ['src/main/x.ts', `import { a } from '../stargate/core/controller.js';`],
    ['test/x.ts', `import { a } from '../src/stargate/core/controller.js';`],
  ])('%s: %s', (path, text) => {
    expect(check(path, text)).toEqual([]);
  });
});

describe('the table of rooms', () => {
  test('names only rooms and files that it has', () => {
    for (const { room, imports } of ROOMS) {
      for (const entry of imports === 'anything' ? [] : imports) {
        const where = entry.split(':')[0]!;
        const known = where.endsWith('.ts')
          ? roomOf(`src/${where}`) !== undefined
          : ROOMS.some(other => other.room === where || other.room.startsWith(`${where}/`));
        expect(known, `${room} imports ${entry}`).toBe(true);
      }
    }
  });

  /** Rows as `[paths of the room, what it may import]`; a row may stand for several rooms. */
  const rows = readFileSync('docs/ARCHITECTURE.md', 'utf8')
    .split('\n')
    .filter(line => /^\| `(src|native|bench)\//.test(line))
    .map(line => line.split('|').map(cell => cell.trim()))
    .map(cells => ({ paths: expand(cells[1]!), imports: cells[3]! }));

  /** "`src/stargate/{oplog,store}/`" → both paths. */
  function expand(cell: string): string[] {
    return [...cell.matchAll(/`([^`]+)`/g)].flatMap(([, path]) => {
      const braces = /^(.*)\{(.*)\}(.*)$/.exec(path!);
      return braces === null ? [path!] : braces[2]!.split(',').map(part => `${braces[1]}${part}${braces[3]}`);
    });
  }

  test('has the rooms of docs/ARCHITECTURE.md, no more and no less', () => {
    const ofTests = new Set(['native/test/', 'src/nbd-server-ts/test/']);
    expect(rows.flatMap(row => row.paths).sort()).toEqual(
      ROOMS.map(room => room.at)
        .filter(at => !ofTests.has(at))
        .sort(),
    );
  });

  test('allows what docs/ARCHITECTURE.md says', () => {
    const shortNames = (names: readonly string[]): string[] => [...new Set(names.map(name => /^(.*\/)?(.*)$/.exec(name)![2]!))].sort();
    for (const { paths, imports } of rows) {
      for (const at of paths) {
        const room = ROOMS.find(one => one.at === at)!;
        const table = room.imports === 'anything' ? ['anything'] : room.imports;
        expect({ at, imports: shortNames(table) }).toEqual({ at, imports: shortNames(inRoomNames(imports, at)) });
      }
    }
  });

  /** The words of the document's third column as entries of the table. */
  function inRoomNames(cell: string, at: string): string[] {
    const words: Record<string, string[]> = {
      '–': [],
      "uring-engine's types": ['uring-engine:types'],
      "uring-engine's types and its `Gather`": ['uring-engine:Gather'],
      "stargate's types": ['stargate:types'],
      "meta's model": ['model.ts'],
      "control's client and schemas": ['client.ts', 'schemas.ts'],
      "control's counters": ['view.ts'],
      "control's client and all its schemas": ['client.ts', 'schemas.ts', 'vdisk-schemas.ts'],
      "cli's helpers": ['programs.ts', 'progress.ts'],
      'the mechanisms': ['oplog', 'extents', 'store', 'cache'],
    };
    const [common = '', forOne] = cell.split('; ');
    const names = common.split(', ').flatMap(word => words[word] ?? [word]);
    const more = /^(\w+) also (\w+)$/.exec(forOne ?? '');
    return more !== null && at.endsWith(`/${more[1]}/`) ? [...names, more[2]!] : names;
  }
});
