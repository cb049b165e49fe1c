import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { roomOf } from '../../lint/layering.js';
import { isPure } from '../../lint/purity.js';
import { PURE, ROOMS } from '../../lint/rooms.js';

/** Past that, look for the concept that wants out. */
const MAX_LINES_PER_FILE = 450;
const FOLDERS = ['.ci', 'bench', 'lint', 'native', 'scripts', 'src', 'test'];
const NOT_OURS = /(^|\/)(node_modules|dist|build|prebuilds)\//;
const SELF = 'test/lint/tidy.test.ts';

interface Source {
  readonly path: string;
  readonly lines: readonly string[];
}

const sources: readonly Source[] = FOLDERS.flatMap(folder =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => `${folder}/${name}`),
)
  .filter(path => /\.(ts|js|mjs|cc|c|h|sh)$/.test(path) && !NOT_OURS.test(path) && path !== SELF)
  .map(path => ({ path, lines: readFileSync(path, 'utf8').trimEnd().split('\n') }));

/** `path:line: text` of each line that `pattern` fits. */
function findLines(pattern: RegExp, files = sources): string[] {
  return files.flatMap(({ path, lines }) => lines.flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])));
}

const LEFT_OVER = /\b(TODO|FIXME|XXX|HACK)\b/;
const ONLY = /\b(test|it|describe|suite|bench)(\.\w+)*\.only\b/;

describe('the tree is tidy', () => {
  test('the source was found', () => {
    expect(sources.length).toBeGreaterThan(200);
    expect(sources.map(source => source.path)).toEqual(
      expect.arrayContaining(['native/addon/ring.cc', 'src/base/size.ts', 'lint/rooms.js']),
    );
  });

  test(`no file over ${MAX_LINES_PER_FILE} lines`, () => {
    const long = sources.filter(({ lines }) => lines.length > MAX_LINES_PER_FILE);
    expect(long.map(({ path, lines }) => `${path}: ${lines.length} lines`)).toEqual([]);
  });

  test('nothing left to do in a comment', () => {
    expect(findLines(LEFT_OVER)).toEqual([]);
  });

  test('no test runs alone', () => {
    expect(findLines(ONLY)).toEqual([]);
  });

  test('these patterns find what they are for', () => {
    const planted = { path: 'x.ts', lines: ['// TODO: later', 'const a = 1; // FIXME', 'test.only(', 'describe.skipIf(a).only('] };
    expect(findLines(LEFT_OVER, [planted])).toHaveLength(2);
    expect(findLines(ONLY, [{ ...planted, lines: ['test.only(', 'describe.concurrent.only(', 'readonly(', 'test.each('] }])).toHaveLength(
      2,
    );
  });
});

describe('the table of rooms and the tree', () => {
  test('each room is there, or marked as coming', () => {
    expect(ROOMS.filter(({ at, coming }) => coming !== true && !existsSync(at)).map(room => room.at)).toEqual([]);
  });

  test('each source file is in a room', () => {
    const files = sources.map(source => source.path).filter(path => /^(src|native)\/.*\.ts$/.test(path));
    expect(files.filter(path => roomOf(path) === undefined)).toEqual([]);
  });

  test('each entry of the pure files fits a file', () => {
    const empty = PURE.filter(entry => {
      const [start = '', end = ''] = entry.split('*');
      return !sources.some(({ path }) => path.startsWith(start) && path.endsWith(end) && isPure(path));
    });
    expect(empty).toEqual([]);
  });
});
