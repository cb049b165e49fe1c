import { describe, expect, test } from 'vitest';
import { isPure, purity } from '../../lint/purity.js';
import { verify } from './verify.js';

const PURE_FILE = 'src/stargate/core/x.ts';

describe('purity: what a pure file may not use', () => {
  test.each([
    ['Date', 'export const a = Date.now();'],
    ['Date', 'export const a = new Date();'],
    ['Math.random', 'export const a = Math.random();'],
    ['Math.random', `export const a = Math['random']();`],
    ['Math.random', 'export const { random } = Math;'],
    ['setTimeout', 'setTimeout(() => {}, 1);'],
    ['setInterval', 'setInterval(() => {}, 1);'],
    ['setImmediate', 'setImmediate(() => {});'],
    ['performance', 'export const a = performance.now();'],
    ['process', 'export const a = process.hrtime.bigint();'],
    ['crypto', 'export const a = crypto.randomUUID();'],
    ['globalThis', 'export const a = globalThis.Date.now();'],
    ['fetch', `await fetch('http://localhost');`],
  ])('%s: %s', (name, text) => {
    expect(verify(purity, PURE_FILE, text)).toEqual([expect.stringContaining(`1: ${name} in a pure file`)]);
  });

  test.each([
    'node:net',
    'node:fs',
    'node:fs/promises',
    'fs',
    'node:timers',
    'node:timers/promises',
    'node:crypto',
    'node:process',
    'node:perf_hooks',
  ])('%s', name => {
    expect(verify(purity, PURE_FILE, `import { a } from '${name}';`)).toEqual([expect.stringContaining(`1: ${name} in a pure file`)]);
    expect(verify(purity, PURE_FILE, `export * from '${name}';`)).toHaveLength(1);
    expect(verify(purity, PURE_FILE, `await import('${name}');`)).toHaveLength(1);
  });

  test('a module that is not pure, through which all of these would come', () => {
    expect(verify(purity, 'src/datapath/session.ts', `import { a } from './attach.js';`)).toEqual([
      expect.stringContaining('1: src/datapath/attach.ts is not a pure file'),
    ]);
  });
});

describe('purity: what it may', () => {
  test.each([
    `import assert from 'node:assert/strict';`,
    `import type { Socket } from 'node:net';`,
    `import { b } from './y.js';`,
    `import { b } from '../../wire/frame.js';`,
    `import type { B } from '../oplog/stream.js';`,
    'export const a = Math.max(1, 2);',
    'export const a = (port: { now(): number; process: number }) => port.now() + port.process;',
    'export function a(performance: number) { return performance; }',
    'export let a: Date;',
  ])('%s', text => {
    expect(verify(purity, PURE_FILE, text)).toEqual([]);
  });

  test('elsewhere everything', () => {
    expect(verify(purity, 'src/stargate/runtime/x.ts', 'export const a = Date.now() + Math.random();')).toEqual([]);
  });
});

test('which files are pure', () => {
  const pure = [
    'src/base/probe.ts',
    'src/wire/path.ts',
    'src/stargate/core/controller.ts',
    'src/datapath/session.ts',
    'src/datapath/session-request.ts',
    'src/datapath/outstanding.ts',
    'src/datapath/paths.ts',
    'src/nbd-server-ts/src/transmission/transmission.ts',
    'src/nbd-server-ts/src/options/info-go.ts',
  ];
  const others = [
    'src/datapath/shard-session.ts',
    'src/datapath/session/x.ts',
    'src/meta/lmdb.ts',
    'src/nbd-server-ts/src/server.ts',
    'src/stargate/service.ts',
  ];
  expect(pure.filter(path => !isPure(path))).toEqual([]);
  expect(others.filter(path => isPure(path))).toEqual([]);
});
