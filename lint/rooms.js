/**
 * The rooms of the source tree and who may import whom: the table of docs/ARCHITECTURE.md ("Rooms: who may import whom") as data.
 * Change both in one commit.
 *
 * `at` is a folder, or a single file; the longest one that fits a file is its room. `imports` names rooms, or less than a room:
 *   'meta/model.ts'         one file of a room
 *   'uring-engine:types'    types only
 *   'uring-engine:Gather'   this export (and types)
 *   'stargate'              the rooms whose names begin so
 * `packages` are the npm packages that the room may use. Node's own modules are free here; lint/purity.js restricts them.
 *
 * @typedef {object} Room
 * @property {string} room
 * @property {string} at
 * @property {readonly string[] | 'anything'} imports
 * @property {readonly string[]} [packages]
 * @property {string} [package] imported by this name, not by a path
 * @property {boolean} [coming] not in the tree yet
 */

const MECHANISMS = ['stargate/oplog', 'stargate/extents', 'stargate/store', 'stargate/cache'];

/** @type {readonly Room[]} */
export const ROOMS = [
  { room: 'base', at: 'src/base/', imports: [] },
  { room: 'uring-engine', at: 'native/', imports: [], package: 'uring-engine', packages: ['node-gyp-build'] },
  { room: 'nbd-server-ts', at: 'src/nbd-server-ts/', imports: ['uring-engine'], package: 'nbd-server-ts' },
  { room: 'wire', at: 'src/wire/', imports: ['base', 'uring-engine:types'], packages: ['msgpackr', 'zod'] },
  { room: 'meta', at: 'src/meta/', imports: ['base', 'wire'], packages: ['@node-rs/crc32', 'etcd3', 'lmdb', 'msgpackr', 'zod'] },
  { room: 'shard', at: 'src/shard/', imports: ['base', 'uring-engine'], packages: ['piscina'] },
  { room: 'transport', at: 'src/transport/', imports: ['base', 'wire', 'shard', 'uring-engine'] },

  {
    room: 'stargate/core',
    at: 'src/stargate/core/',
    imports: ['base', 'wire', 'meta/model.ts', 'uring-engine:Gather'],
    packages: ['@node-rs/crc32', 'msgpackr', 'zod'],
  },
  mechanism('oplog', [], ['@node-rs/crc32']),
  mechanism('extents', ['stargate/store'], ['@node-rs/crc32']),
  mechanism('store', [], ['@node-rs/crc32', 'lmdb']),
  mechanism('cache', [], []),
  {
    room: 'stargate/runtime',
    at: 'src/stargate/runtime/',
    imports: ['base', 'stargate/core', ...MECHANISMS, 'wire', 'transport', 'meta', 'uring-engine'],
    packages: ['@node-rs/crc32'],
  },
  { room: 'stargate/service', at: 'src/stargate/service.ts', imports: ['base', 'stargate', 'meta', 'shard', 'wire', 'uring-engine'] },
  { room: 'stargate/replicas', at: 'src/stargate/replicas.ts', imports: ['base', 'stargate', 'wire', 'shard', 'uring-engine'] },
  { room: 'stargate/messages', at: 'src/stargate/messages.ts', imports: ['base', 'stargate:types'] },
  {
    room: 'stargate/data-directory',
    at: 'src/stargate/data-directory.ts',
    imports: ['base', 'uring-engine'],
    packages: ['@node-rs/crc32', 'zod'],
  },

  {
    room: 'datapath',
    at: 'src/datapath/',
    imports: ['base', 'meta', 'wire', 'transport', 'nbd-server-ts', 'shard', 'uring-engine'],
  },
  { room: 'control', at: 'src/control/', imports: ['base', 'meta', 'wire'], packages: ['fastify', 'prom-client', 'zod'] },
  { room: 'nbd-client', at: 'src/nbd-client/', imports: ['base'] },
  {
    room: 'cli',
    at: 'src/cli/',
    imports: ['base', 'control/client.ts', 'control/schemas.ts', 'control/vdisk-schemas.ts', 'control/watch/view.ts', 'nbd-client'],
    packages: ['commander', 'zod'],
  },
  {
    room: 'drill',
    at: 'src/drill/',
    imports: ['base', 'control/client.ts', 'control/schemas.ts', 'cli/progress.ts', 'cli/programs.ts', 'nbd-client'],
    packages: ['commander', 'zod'],
  },
  { room: 'main', at: 'src/main/', imports: 'anything' },

  { room: 'bench', at: 'bench/', imports: 'anything' },
  { room: 'test', at: 'test/', imports: 'anything' },
  { room: 'uring-engine/test', at: 'native/test/', imports: 'anything' },
  { room: 'nbd-server-ts/test', at: 'src/nbd-server-ts/test/', imports: 'anything' },
];

/**
 * A mechanism of Stargate behind the core's ports.
 * @param {string} name
 * @param {readonly string[]} more
 * @param {readonly string[]} packages
 * @returns {Room}
 */
function mechanism(name, more, packages) {
  return {
    room: `stargate/${name}`,
    at: `src/stargate/${name}/`,
    imports: ['base', 'stargate/core', 'uring-engine', 'shard', ...more],
    packages,
  };
}

/**
 * Pure rooms and files: no clock, no randomness, no timer, no socket, no file (lint/purity.js). What they import by value is pure too,
 * so the small modules they share with others are named as well. A `*` stands for any part of one name.
 */
export const PURE = [
  'src/base/',
  'src/wire/',
  'src/meta/placement.ts',
  'src/stargate/core/',
  'src/datapath/session*.ts',
  'src/datapath/outstanding.ts',
  'src/datapath/path*.ts',
  'src/datapath/failback.ts',
  'src/datapath/nodes.ts',
  'src/datapath/limits.ts',
  'src/drill/checker.ts',
  'src/nbd-server-ts/src/handshake/',
  'src/nbd-server-ts/src/transmission/',
  'src/nbd-server-ts/src/options/',
  'src/nbd-server-ts/src/commands/',
  'src/nbd-server-ts/src/protocol/',
  'src/nbd-server-ts/src/replies/',
  'src/nbd-server-ts/src/limits.ts',
  'src/nbd-server-ts/src/errors.ts',
];
