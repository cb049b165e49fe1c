import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { describe, expect, test } from 'vitest';

const BUNDLE = new URL('../../dist/bundle/', import.meta.url);
const STATIC_IMPORT = /^(?:import|export)\b[^;]*?(?:from )?"([^"]+)";$/gm;

interface Loaded {
  /** Source files and those of packages, as their comments in the bundle say. */
  readonly modules: readonly string[];
  /** Packages that stay outside the bundle. */
  readonly packages: readonly string[];
}

/** What a process or thread has loaded when the entry begins to run. */
function loadedBy(entry: string): Loaded {
  const files = new Set([`./${entry}.js`]);
  const packages = new Set<string>();
  const modules: string[] = [];
  for (const file of files) {
    const text = readFileSync(new URL(file, BUNDLE), 'utf8');
    modules.push(...[...text.matchAll(/^\/\/ ((?:dist|native|node_modules|src)\/\S+)$/gm)].map(([, name]) => name!));
    for (const [, from] of text.matchAll(STATIC_IMPORT)) {
      if (from!.startsWith('./')) files.add(from!);
      else packages.add(from!);
    }
  }
  return { modules, packages: [...packages] };
}

const packagesIn = ({ modules, packages }: Loaded): string[] => [
  ...new Set([...modules.map(name => /^node_modules\/([^/]+)\//.exec(name)?.[1]).filter(name => name !== undefined), ...packages]),
];

/** The bundle's file that has the text, and where in it. */
function find(text: string): { file: string; line: number; column: number } {
  for (const file of readdirSync(BUNDLE).filter(name => name.endsWith('.js'))) {
    const lines = readFileSync(new URL(file, BUNDLE), 'utf8').split('\n');
    const line = lines.findIndex(candidate => candidate.includes(text));
    if (line >= 0) return { file, line, column: lines[line]!.indexOf(text) };
  }
  throw new Error(`the bundle has no "${text}"`);
}

const mapOf = (file: string): SourceMapPayload => JSON.parse(readFileSync(new URL(`${file}.map`, BUNDLE), 'utf8')) as SourceMapPayload;

describe('what is loaded at the start', () => {
  test('by the command, whatever the verb: nothing of the storage but limits, no server, no database', () => {
    const loaded = loadedBy('gatepath');
    expect(loaded.modules).toContain('dist/cli/status.js');
    const storage = loaded.modules.filter(name => /^(dist\/(stargate|transport|datapath|shard|main\/config)|native|src)\//.test(name));
    expect(storage.filter(name => !name.endsWith('/limits.js'))).toEqual([]);
    expect(packagesIn(loaded)).not.toEqual(expect.arrayContaining([expect.stringMatching(/fastify|pino|etcd3|lmdb|yaml|piscina/)]));
  });

  test('by a shard: no command line, no server, no etcd', () => {
    const loaded = loadedBy('shard-worker');
    expect(loaded.modules).toContain('dist/stargate/core/controller.js');
    expect(packagesIn(loaded)).not.toEqual(expect.arrayContaining([expect.stringMatching(/commander|fastify|pino|etcd3|yaml|piscina/)]));
    expect(loaded.packages).toContain('lmdb');
    // All of its languages would be loaded with "import { z }".
    expect(loaded.modules.filter(name => name.startsWith('node_modules/zod/v4/locales/'))).toEqual(['node_modules/zod/v4/locales/en.js']);
  });

  test.each(['store-thread', 'tls-worker'])('by %s: no controller', entry => {
    const { modules } = loadedBy(entry);
    expect(modules.length).toBeGreaterThan(5);
    expect(modules.filter(name => /core\/controller|^node_modules\/(zod|commander|fastify)/.test(name))).toEqual([]);
  });
});

test('its source maps lead to sources that are there', () => {
  const files = readdirSync(BUNDLE).filter(name => name.endsWith('.js'));
  const sources = new Set(files.flatMap(file => mapOf(file).sources.map(source => new URL(source, BUNDLE).pathname)));
  const ours = [...sources].filter(path => !path.includes('/node_modules/'));
  expect(ours.filter(path => !existsSync(path))).toEqual([]);
  expect(ours.filter(path => path.endsWith('.ts')).length).toBeGreaterThan(200);
  const { file, line, column } = find('(new URL("./store-thread.js"');
  const entry = new SourceMap(mapOf(file)).findEntry(line, column);
  if (!('originalSource' in entry)) throw new Error('the map has no entry for it');
  const source = new URL(entry.originalSource, BUNDLE);
  expect(source.pathname).toMatch(/src\/stargate\/store\/store-handle\.ts$/);
  expect(readFileSync(source, 'utf8').split('\n')[entry.originalLine]).toContain("(new URL('./store-thread.js'");
});
