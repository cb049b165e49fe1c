import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HOPS } from '../../../src/base/probe.js';
import { METRICS } from '../../../src/control/watch/metrics.js';
import { run } from '../../support/process.js';
import { missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const DOCS = join(import.meta.dirname, '../../../docs');
const PAGE = join(DOCS, 'metrics.md');

/** What docs/metrics.md has to say; GATEPATH_UPDATE_DOCS=1 writes it. */
function table(): string {
  const rows = METRICS.map(
    ({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.map(label => `\`${label}\``).join(', ')} | ${help} |`,
  );
  return ['| metric | type | labels | what |', '| - | - | - | - |', ...rows].join('\n');
}

const cells = (text: string): string[] =>
  text
    .split('\n')
    .filter(line => line.startsWith('|'))
    .map(line => line.replaceAll(/ +/g, ' ').replaceAll(/-+/g, '-'));

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }[];
  readonly templating: { readonly list: readonly { readonly query: string }[] };
}
const dashboard = JSON.parse(readFileSync(join(DOCS, 'grafana/gatepath.json'), 'utf8')) as Dashboard;
const queries = dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr, legendFormat }) => ({ title, expr, legendFormat })));

describe('metrics and what is written about them', () => {
  it('docs/metrics.md has each metric, its type, labels and meaning, and no other', () => {
    if (process.env['GATEPATH_UPDATE_DOCS'] === '1') {
      writeFileSync(PAGE, readFileSync(PAGE, 'utf8').replace(/\| metric[^]*\|\n/, `${table()}\n`));
    }
    const page = readFileSync(PAGE, 'utf8');
    expect(cells(page.slice(page.indexOf('| metric')))).toEqual(cells(table()));
    for (const hop of HOPS) expect(page).toContain(`\`${hop}\``);
  });

  it('names follow the conventions of Prometheus', () => {
    for (const { name, type, help } of METRICS) {
      expect(name).toMatch(/^gatepath(_[a-z]+)+$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      expect(help).toMatch(/^[A-Z1].*\.$/);
    }
    expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  });

  it.each(queries)('the dashboard asks for what there is: $title: $expr', ({ expr, legendFormat }) => {
    const names = expr.match(/\b(gatepath|process|nodejs)_\w+/g) ?? [];
    expect(names).not.toEqual([]);
    const asked = names
      .filter(name => name.startsWith('gatepath_'))
      .map(name => METRICS.find(one => name === one.name || (one.type === 'histogram' && name === `${one.name}_bucket`))!);
    expect(
      asked.every(one => one !== undefined),
      names.join(' '),
    ).toBe(true);
    const labels = new Set(['instance', 'le', 'job', ...asked.flatMap(one => one.labels)]);
    const used = [
      ...[...expr.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list]) => list!.split(', ')),
      ...[...expr.matchAll(/[{,] *(\w+)=/g)].map(([, label]) => label!),
    ];
    for (const label of [...used, ...[...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!)])
      expect(labels, label).toContain(label);
  });

  it('each metric is on the dashboard, but for sizes that are there as shares', () => {
    const all = queries.map(({ expr }) => expr).join('\n');
    const missing = METRICS.map(({ name }) => name).filter(name => !all.includes(name));
    expect(missing).toEqual([
      'gatepath_info',
      'gatepath_vdisk_size_bytes',
      'gatepath_vdisk_undrained_entries',
      'gatepath_cache_used_bytes',
      'gatepath_cache_size_bytes',
      'gatepath_scrub_passes_total',
      'gatepath_store_check_passes_total',
      'gatepath_space_size_bytes',
    ]);
  });

  it.skipIf(missingPrograms('promtool').length > 0)('promtool reads the queries', async () => {
    const dir = makeTempDir('promtool');
    const rules = queries.map(({ expr }, i) => ({
      record: `test:query:${i}`,
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$vdisk', '.*'),
    }));
    const file = join(dir, 'rules.yml');
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
    const { code, stdout, stderr } = await run(['promtool', 'check', 'rules', file]);
    expect(stdout + stderr).toContain(`${queries.length} rules found`);
    expect(code).toBe(0);
    removeTempDir(dir);
  });
});
