import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completionScript } from '../../../src/main/manual/completion.js';
import { manualPage } from '../../../src/main/manual/roff.js';
import { allPages, pageOf } from '../../../src/main/manual/tree.js';
import { WORDS } from '../../../src/main/manual/words.js';
import { gatepathCommand } from '../../../src/main/program.js';
import { gatepath } from '../../support/gatepath.js';
import { check, run } from '../../support/process.js';
import { missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const root = pageOf(gatepathCommand());
const pages = allPages(root);
const verbs = pages.filter(({ commands }) => commands.length === 0);
const dir = makeTempDir('manual');
const lacks = (...names: readonly string[]): boolean => missingPrograms(...names).length > 0;
afterAll(() => removeTempDir(dir));

describe('the manual', () => {
  it.each(pages)('says all there is to say of "gatepath $path"', page => {
    expect(page.description).not.toBe('');
    for (const { name, description } of page.arguments) expect([name, description]).not.toEqual([name, '']);
    for (const { flags, description } of page.options) expect([flags, description]).not.toEqual([flags, '']);
    if (page.commands.length === 0) expect(page.examples).not.toEqual([]);
  });

  it('has words for verbs that there are', () => {
    expect(Object.keys(WORDS).filter(path => !verbs.some(page => page.path === path))).toEqual([]);
  });

  it.each(verbs)('has examples with options that "gatepath $path" has', ({ path, options, examples }) => {
    const known = options.flatMap(({ names }) => names);
    for (const example of examples) {
      const own = example.split(/&&|\|/).find(part => part.includes(`gatepath ${path}`))!;
      // What is quoted is for somebody else.
      const given = own
        .replace(/'[^']*'/g, '')
        .split(' ')
        .filter(word => word.startsWith('--'));
      expect(given.filter(word => !known.includes(word))).toEqual([]);
    }
  });

  it('is in --help too', async () => {
    const help = await gatepath('vdisk', 'create', '--help');
    expect(help).toMatch(/^Arguments:\n {2}name +the new vdisk$/m);
    expect(help).toMatch(/^Examples:\n {2}gatepath vdisk create web1 20G$/m);
  });

  it.skipIf(lacks('groff'))('is a page that man shows without a complaint', async () => {
    const path = join(dir, 'gatepath.1');
    writeFileSync(path, manualPage(root, '1.2.3'));
    const { stdout, stderr } = await run(['groff', '-man', '-Tascii', '-ww', '-z', path]);
    expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' });
    const text = (await check(['groff', '-man', '-Tascii', '-P-cbou', path])).replace(/\s+/g, ' ');
    for (const page of verbs) expect(text).toContain(`gatepath ${page.path}`);
    expect(text).toContain("ssh {node} systemctl restart gatepath-stargate'");
    expect(readFileSync(path, 'utf8')).not.toMatch(/^['.](?!TH|SH|SS|TP|PP|B|I|BR|nf|fi|RS|RE\b)/m);
  });
});

/** An option that takes a value at one verb and none at another would be read wrongly by the scripts. */
it('options take a value everywhere, or nowhere', () => {
  const takes = new Map<string, boolean>();
  for (const { options } of pages) {
    for (const { names, value } of options) for (const name of names) takes.set(name, takes.get(name) ?? value !== null);
  }
  for (const { options } of pages) {
    for (const { names, value } of options) for (const name of names) expect([name, value !== null]).toEqual([name, takes.get(name)]);
  }
});

/** Real shells; in the place of the command something that knows two vdisks. */
describe('completion', () => {
  const CASES: [words: string, offered: string[], not?: string[]][] = [
    ['gatepath vd', ['vdisk']],
    ['gatepath vdisk re', ['recover', 'release', 'resize'], ['create']],
    ['gatepath config example ', ['stargate', 'datapath']],
    ['gatepath attach --form', ['--format']],
    ['gatepath attach --format q', ['qemu'], ['uri']],
    ['gatepath attach ', ['web1', 'web2']],
    ['gatepath attach --data /d web', ['web-at-d']],
    ['gatepath vdisk resize --qmp /s we', ['web1', 'web2']],
    ['gatepath events --vdisk we', ['web1', 'web2']],
  ];
  const script = (shell: 'bash' | 'zsh' | 'fish'): string => join(dir, `completion.${shell}`);
  const bin = join(dir, 'bin');
  const env = { PATH: `${bin}:${process.env['PATH']!}`, HOME: dir, XDG_CONFIG_HOME: dir };
  beforeAll(async () => {
    for (const shell of ['bash', 'zsh', 'fish'] as const) writeFileSync(script(shell), completionScript(shell, root));
    await check(['mkdir', bin]);
    writeFileSync(
      join(bin, 'gatepath'),
      '#!/bin/sh\necho NAME SIZE\ncase "$*" in *"--data /d"*) echo web-at-d 1G;; *) echo web1 1G; echo web2 1G;; esac\n',
      { mode: 0o755 },
    );
    writeFileSync(join(dir, '.zshrc'), '');
  });

  async function fromBash(words: string): Promise<string[]> {
    const text = `source ${script('bash')}
read -ra COMP_WORDS <<< '${words}'; [[ '${words}' == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _gatepath gatepath; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return (await check(['bash', '--norc', '-c', text], { env })).split('\n');
  }

  it('is what bash uses for the command', async () => {
    expect(await check(['bash', '--norc', '-c', `source <(cat ${script('bash')}); complete -p gatepath`])).toContain(
      '-F _gatepath gatepath',
    );
    expect(await gatepath('completion', 'bash')).toBe(readFileSync(script('bash'), 'utf8'));
  });

  it.each(CASES)('in bash: %s', async (words, offered, not = []) => {
    const found = await fromBash(words);
    expect(found).toEqual(expect.arrayContaining(offered));
    expect(found.filter(one => not.includes(one))).toEqual([]);
  });

  describe.skipIf(lacks('fish'))('in fish', () => {
    it.each(CASES)('%s', async (words, offered, not = []) => {
      const said = await check(['fish', '--no-config', '-c', `source ${script('fish')}; complete -C '${words}'`], { env });
      const found = said.split('\n').map(line => line.split('\t')[0]!);
      expect(found).toEqual(expect.arrayContaining(offered));
      expect(found.filter(one => not.includes(one))).toEqual([]);
    });
  });

  it.skipIf(lacks('zsh', 'python3'))('in zsh: each of them at a prompt', { timeout: 120_000 }, async () => {
    const { stdout } = await run(
      [
        'python3',
        join(import.meta.dirname, 'zsh-complete.py'),
        script('zsh'),
        ...CASES.map(([words, offered]) => [words, ...offered].join('\t')),
      ],
      { env, timeoutMs: 100_000 },
    );
    const answers = stdout.split('\f');
    for (const [at, [words, offered]] of CASES.entries()) {
      for (const one of offered) expect([words, answers[at]]).toEqual([words, expect.stringContaining(one)]);
    }
  });
});
