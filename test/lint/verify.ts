import { Linter, type Rule } from 'eslint';
import { parser } from 'typescript-eslint';

const linter = new Linter({ cwd: '/tree' });

/** What the rule says of a file with this text at this path (from the root of the tree). The file need not exist. */
export function verify(rule: Rule.RuleModule, path: string, text: string): string[] {
  const messages = linter.verify(
    text,
    {
      files: ['**/*.ts'],
      languageOptions: { parser, ecmaVersion: 'latest', sourceType: 'module' },
      plugins: { gatepath: { rules: { rule } } },
      rules: { 'gatepath/rule': 'error' },
    },
    { filename: `/tree/${path}` },
  );
  return messages.map(({ line, message }) => `${line}: ${message}`);
}
