import { spawnSync } from 'node:child_process';
import type { Row, RowResult } from './row.js';

const SIGN = { holds: '✓', fails: '✗', 'not offered': '–' } as const;
const VERSIONS: Readonly<Record<string, readonly string[]>> = {
  nbdkit: ['nbdkit', '--version'],
  'qemu-nbd': ['qemu-nbd', '--version'],
  'nbd-server': ['dpkg-query', '-W', 'nbd-server'],
};

function versionOf(peer: string): string {
  const command = VERSIONS[peer];
  if (command === undefined) return peer;
  return spawnSync(command[0]!, command.slice(1), { encoding: 'utf8' }).stdout.split('\n')[0]!.trim().replaceAll('\t', ' ');
}

/** A text in a table's cell. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

export function renderReport(rows: readonly Row[], results: ReadonlyMap<string, readonly RowResult[]>): string {
  const peers = [...results.keys()];
  const count = (peer: string, verdict: RowResult['verdict']): number =>
    results.get(peer)!.filter(result => result.verdict === verdict).length;
  const lines = [
    '# NBD conformance',
    '',
    'Written by `npm run conformance -- --write docs/nbd-conformance.md`, which runs `test/conformance` against each server: ✓ every check of the row holds, ✗ one does not, – nothing of',
    'the row is offered. The rows are those of the specification ([proto.md](https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md) with the branches `extension-ext-header` and `extension-resize`);',
    'rule is what it says of them. `npm run conformance -- URI` asks any other server. What a URI may be: `test/conformance/uri.test.ts`.',
    'The reference implementation’s own tester, nbd-tester-client, runs by `npm run nbd-tester -- SOURCE-OF-NBD`: with that of nbd 3.24 every kind that is about the protocol passes, on both engines.',
    '',
    `Versions: ${peers.map(versionOf).join('; ')}.`,
    '',
    `| row | rule | ${peers.join(' | ')} |`,
    `| --- | --- | ${peers.map(() => '---').join(' | ')} |`,
    ...rows.map(
      (row, i) => `| ${cell(row.title)} | ${row.rule} | ${peers.map(peer => SIGN[results.get(peer)![i]!.verdict]).join(' | ')} |`,
    ),
    `| **rows that hold, fail, are not offered** | | ${peers.map(peer => `${count(peer, 'holds')}, ${count(peer, 'fails')}, ${count(peer, 'not offered')}`).join(' | ')} |`,
    '',
    '## What did not hold',
    '',
  ];
  for (const peer of peers) {
    const failing = rows.flatMap((row, i) => {
      const { failures } = results.get(peer)![i]!;
      return failures.length === 0 ? [] : [`- ${row.title}`, ...failures.map(failure => `  - ${failure}`)];
    });
    lines.push(`### ${peer}`, '', ...(failing.length > 0 ? failing : ['Nothing.']), '');
  }
  return lines.join('\n');
}
