import { ESLint } from 'eslint';
import { describe, expect, test } from 'vitest';

/** `npm run lint` itself, on files that are not there: that the rules are switched on where they are meant to be. */
const eslint = new ESLint();

async function rulesFor(path: string): Promise<Record<string, [number, ...unknown[]] | undefined>> {
  const config = (await eslint.calculateConfigForFile(path)) as { rules: Record<string, [number, ...unknown[]]> };
  return config.rules;
}

describe('the lint gate', () => {
  test.each(['src/base/x.ts', 'src/stargate/core/deep/x.ts', 'native/src/x.ts', 'src/nbd-server-ts/src/x.ts'])('%s', async path => {
    const rules = await rulesFor(path);
    expect(rules['gatepath/layering']?.[0]).toBe(2);
    expect(rules['gatepath/purity']?.[0]).toBe(2);
  });

  test.each(['src/main/x.ts', 'test/x.ts', 'bench/x.ts', 'native/test/x.ts'])('%s: promises, unions, equality', async path => {
    const rules = await rulesFor(path);
    expect(rules['@typescript-eslint/no-floating-promises']?.[0]).toBe(2);
    expect(rules['@typescript-eslint/no-misused-promises']?.[0]).toBe(2);
    expect(rules['@typescript-eslint/switch-exhaustiveness-check']?.[0]).toBe(2);
    expect(rules['eqeqeq']?.[0]).toBe(2);
  });

  test('what was built is left alone', async () => {
    expect(await eslint.isPathIgnored('dist/base/size.js')).toBe(true);
    expect(await eslint.isPathIgnored('native/dist/index.js')).toBe(true);
    expect(await eslint.isPathIgnored('native/addon/x.ts')).toBe(false);
  });
});
